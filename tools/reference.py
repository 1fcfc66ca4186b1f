"""The parts of the reference pages that are read off the code, so that they cannot fall behind it.

    python tools/reference.py write     bring the pages up to date
    python tools/reference.py check     say which are not, as the tests do

A page has a part between `<!-- from the code: NAME -->` and `<!-- until here -->`.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["PUMASI_LANG"] = "en"  # before any text is made

from babel.messages.pofile import read_po

from pumasi.cli.app import entries, load
from pumasi.config import Settings, aliases
from pumasi.units import format_duration, format_size

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
CATALOGUE = ROOT / "src" / "pumasi" / "locale" / "en" / "LC_MESSAGES" / "pumasi.po"
_PART = re.compile(r"(<!-- from the code: (\w+) -->\n)(.*?)(<!-- until here -->)", re.DOTALL)
_EVENT = re.compile(r"[a-z]+\.[a-z_]+")
_SIZES = {"memory", "memory_limit", "disk_limit", "output_limit", "result_limit", "required_memory"}


def settings() -> Iterator[str]:
    """A row a setting: name, variable, default, other names, meaning."""
    yield "| setting | variable | default | other names | meaning |"
    yield "|---|---|---|---|---|"
    for name, field in Settings.model_fields.items():
        others = ", ".join(f"`{alias}`" for alias in aliases(name))
        default = _default(name, field.default)
        yield f"| `{name}` | `PUMASI_{name.upper()}` | {default} | {others} | {field.description} |"


def _default(name: str, value: Any) -> str:
    if name == "python":
        return "Pumasi's own"
    if value is None or value == ():
        return ""
    if name in _SIZES:
        return format_size(value)
    if isinstance(value, bool):
        return str(value).lower()
    return format_duration(value) if isinstance(value, float) else f"`{value}`"


def commands() -> Iterator[str]:
    """A section a command: what it does, how it is called, its options."""
    for name, entry in entries().items():
        command = load(name)
        yield f"## pumasi {name}\n"
        yield f"{command.help or entry.summary}\n"
        yield from _usage(command, f"pumasi {name}")
        for inner, below in getattr(command, "commands", {}).items():
            yield f"### pumasi {name} {inner}\n"
            yield f"{below.help}\n"
            yield from _usage(below, f"pumasi {name} {inner}")


def _usage(command: Any, path: str) -> Iterator[str]:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option" and param.name != "help"]
    words = [_argument(param) for param in arguments]
    words += ["COMMAND …"] if getattr(command, "commands", None) else []
    yield f"    {' '.join([path, '[OPTIONS]', *words])}\n"
    if not arguments and not options:
        return
    yield "| | |\n|---|---|"
    for param in (*arguments, *options):
        yield f"| `{_shown(param)}` | {' '.join((param.help or '').split())} |"
    yield ""


def _argument(param: Any) -> str:
    name = str(param.display_name_raw)
    return name if param.required else f"[{name}]"


def _shown(param: Any) -> str:
    if param.param_type_name == "argument":
        return str(param.display_name_raw).replace("|", "\\|")
    names = ", ".join(sorted(param.opts, key=len, reverse=True))
    return f"{names} {param.metavar}".replace("|", "\\|") if param.metavar else names


def routes() -> Iterator[str]:
    """A row a route of the gateway."""
    from pumasi.broker import connect
    from pumasi.gateway.app import create_app
    from pumasi.scripts.local import LocalRepository

    app = create_app(connect("memory://"), LocalRepository("scripts"), token="only-for-this")  # noqa: S106
    yield "| call | what it does |"
    yield "|---|---|"
    for path, calls in app.openapi()["paths"].items():
        for method, call in calls.items():
            yield f"| `{method.upper()} {path}` | {' '.join(call.get('description', '').split())} |"


def events() -> Iterator[str]:
    """A row a log event."""
    yield "| event | message |"
    yield "|---|---|"
    with CATALOGUE.open("rb") as file:
        texts = {str(message.id): str(message.string) for message in read_po(file) if message.id}
    for name in sorted(name for name in texts if _EVENT.fullmatch(name)):
        yield f"| `{name}` | {texts[name]} |"


PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "settings": settings,
    "commands": commands,
    "routes": routes,
    "events": events,
}


def renewed(text: str) -> str:
    """A page with its parts as they should be."""
    return _PART.sub(_part, text)


def _part(found: re.Match[str]) -> str:
    body = "\n".join(PARTS[found[2]]()).strip()
    return f"{found[1]}\n{body}\n\n{found[4]}"


def main(words: list[str]) -> int:
    """Write, or check."""
    if words not in (["write"], ["check"]):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    stale = [page for page in sorted(DOCS.rglob("*.md")) if renewed(page.read_text("utf-8")) != page.read_text("utf-8")]
    for page in stale:
        if words == ["write"]:
            page.write_text(renewed(page.read_text("utf-8")), "utf-8")
        sys.stdout.write(f"{page.relative_to(ROOT)} is {'renewed' if words == ['write'] else 'behind the code'}\n")
    return 1 if stale and words == ["check"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
