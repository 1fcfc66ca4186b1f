"""The manifest: every field, where it stands, and how wrong ones are named."""

import textwrap
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumasi.core.job import Cause, Limits, Retry
from pumasi.errors import Invalid
from pumasi.scripts.manifest import Manifest, folder_entry, read_manifest
from tests.pages import ROOT, blocks

FULL = """
name = "report"
version = "2.1"
description = "Prices as a page"
entry_point = "main.py"
dependencies = ["httpx2>=2"]
requires_python = ">=3.11"
preload = ["json", "xml.etree"]
memory_limit = "512MB"
required_memory = "256 MiB"
cpu = "1m"
timeout = 90
processes = 8
open_files = 256
disk = "1GB"
output = 4096
network = "host"
env = ["SHOP_URL"]
secrets = ["SHOP_TOKEN"]
browser = false
result = "json-lenient"
on_lost = "fail"
queue = "reports"
priority = 7
key = "{script}:{params.domain}"
concurrency = 2
rate = "10/min"
expires = "1h"
labels = { team = "prices" }
artifacts = ["out/*.html"]

[retry]
max_attempts = 3
delay = "2s"
on = ["exit", "timeout"]

[parameters]
type = "object"
required = ["domain"]
properties.domain.type = "string"
"""


def of_folder(toml: str, **files: str) -> Manifest:
    sources = {"main.py": "", **files}
    return read_manifest(
        {"pumasi.toml": toml.encode()} | {path: text.encode() for path, text in sources.items()}, "report"
    )


def problems(toml: str) -> dict[str, Any]:
    with pytest.raises(Invalid, match="the manifest of report is not valid") as caught:
        of_folder(toml)
    fields: dict[str, Any] = caught.value.details["fields"]
    assert all(field in str(caught.value) for field in fields)
    return fields


def of_values(**values: Any) -> Manifest:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tomllib, "loads", lambda _: values)
        return read_manifest({"pumasi.toml": b"", "main.py": b""}, "report")


def test_every_field() -> None:
    manifest = of_folder(FULL)
    assert manifest.limits() == Limits(memory=512 * 2**20, cpu=60, processes=8, open_files=256, disk=2**30, output=4096)
    assert manifest.retry_rule() == Retry(max_attempts=3, delay=2.0, on=(Cause.EXIT, Cause.TIMEOUT))
    assert manifest.required_memory == 256 * 2**20
    assert (manifest.timeout, manifest.expires) == (90, 3600)
    assert (manifest.env, manifest.secrets) == (("SHOP_URL",), ("SHOP_TOKEN",))
    assert manifest.parameters is not None
    assert manifest.parameters["required"] == ["domain"]


def test_nothing_said() -> None:
    manifest = read_manifest({"x.py": b"print(1)"}, "x")
    assert manifest == Manifest()
    assert manifest.limits() == Limits()
    assert manifest.retry_rule() is None


def test_in_the_script_itself() -> None:
    source = (
        '# /// script\n# dependencies = ["bs4"]\n# requires-python = ">=3.11"\n# [tool.pumasi]\n# retry = 3\n# ///\n'
    )
    manifest = read_manifest({"x.py": source.encode()}, "x")
    assert manifest.dependencies == ("bs4",)
    assert manifest.requires_python == ">=3.11"
    assert manifest.retry_rule() == Retry(max_attempts=4)


def test_the_block_of_the_entry_point_counts_and_no_other() -> None:
    block = "# /// script\n# [tool.pumasi]\n# priority = 3\n# ///\n"
    assert read_manifest({"main.py": b"", "other.py": block.encode()}, "x").priority is None


def test_dependencies_beside_a_manifest() -> None:
    manifest = of_folder(
        'priority = 1\nentry_point = "go.py"', **{"go.py": '# /// script\n# dependencies = ["a"]\n# ///\n'}
    )
    assert (manifest.priority, manifest.dependencies) == (1, ("a",))


def test_two_manifests() -> None:
    block = "# /// script\n# [tool.pumasi]\n# priority = 3\n# ///\n"
    with pytest.raises(Invalid, match=r"in pumasi\.toml and in main\.py; keep one"):
        of_folder("priority = 1", **{"main.py": block})


def test_scratch_says_where_and_disk_how_much() -> None:
    manifest = of_folder('scratch = "disk"\ndisk = "1MB"')
    assert (manifest.scratch, manifest.limits().disk) == ("disk", 2**20)
    assert of_folder('scratch = "memory"').limits().disk is None


@pytest.mark.parametrize("size", ['"1MB"', '" 1.5 gb"', '"512"', "1048576", "0"])
def test_a_size_of_the_scratch_is_sent_to_disk(size: str) -> None:
    assert problems(f"scratch = {size}")["scratch"].endswith("how large it may be is said by `disk`")


@pytest.mark.parametrize("network", ['"public"', '["example.org"]', "[]"])
def test_a_network_that_nothing_could_hold_it_to(network: str) -> None:
    problem = problems(f"network = {network}")["network"]
    assert "does not exist yet" in problem
    assert '"host", which is open to everything the worker can reach' in problem


@pytest.mark.parametrize("network", ["none", "host", None])
def test_networks_there_are(network: str | None) -> None:
    assert of_folder(f'network = "{network}"' if network else "").network == network


def test_a_browser_gets_room_unless_something_else_is_said() -> None:
    manifest = of_folder("browser = true")
    assert (manifest.limits().memory, manifest.limits().processes, manifest.memory_to_count()) == (
        2 << 30,
        512,
        1 << 30,
    )
    small = of_folder('browser = true\nmemory_limit = "300MB"\nprocesses = 100\nrequired_memory = "200MB"')
    assert (small.limits().memory, small.limits().processes, small.memory_to_count()) == (300 << 20, 100, 200 << 20)


def test_a_command_runs_instead_of_python() -> None:
    assert of_folder('command = ["node", "x.js"]').command == ("node", "x.js")
    assert "mean nothing beside it" in str(problems('command = ["node"]\nentry_point = "x.py"'))
    assert "mean nothing beside it" in str(problems('command = ["node"]\npreload = ["json"]'))
    assert "has no main" in str(problems('command = ["node"]\nresult = "return"'))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=12))
def test_any_words_are_a_command_but_for_a_nul_and_nothing(words: list[str]) -> None:
    if words and words[0] and not any("\0" in word for word in words):
        assert of_values(command=words).command == tuple(words)
    else:
        with pytest.raises(Invalid) as caught:
            of_values(command=words)
        assert all(field.startswith("command") for field in caught.value.details["fields"])


def test_how_long_a_command_may_be() -> None:
    longest = "a" * 4096
    assert of_values(command=[longest] * 100).command == (longest,) * 100
    assert "at most 100 items" in problems(f"command = {['a'] * 101}")["command"]
    assert "4096 characters" in problems(f"command = ['{longest}a']")["command/0"]


def test_what_says_what_a_folder_runs() -> None:
    def entry(toml: str, **files: str) -> str | None:
        sources = {"pumasi.toml": toml, **{f"{name}.py": text for name, text in files.items()}}
        return folder_entry({path: text.encode() for path, text in sources.items()}, "report")

    assert entry('command = ["node", "x.js"]') == "pumasi.toml"
    assert entry('command = ["node", "x.js"]', main="", report="") == "pumasi.toml"
    assert entry('entry_point = "go.py"', main="") == "go.py"
    assert entry("", report="") == "report.py"
    assert entry("priority = 1") is None
    assert entry("", main='# /// script\n# tool.pumasi.command = ["node"]\n# ///\n') == "main.py"
    with pytest.raises(Invalid, match="command"):
        entry("command = false")


def test_beside_a_command_no_block_of_a_file_counts() -> None:
    block = "# /// script\n# tool.pumasi.priority = 3\n# ///\n"
    manifest = of_folder('command = ["node"]', **{"main.py": block})
    assert (manifest.command, manifest.priority) == (("node",), None)
    # The manifest's own comments are no Python.
    assert of_folder(block + 'command = ["node"]').priority is None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(Manifest.model_fields)), VALUES, max_size=6), st.data())
def test_whatever_it_says_it_is_a_manifest_or_the_fields_are_named(values: dict[str, Any], data: st.DataObject) -> None:
    values |= data.draw(st.fixed_dictionaries({}, optional={
        "network": st.sampled_from(["none", "host", "public", ["a"]]),
        "scratch": st.sampled_from(["memory", "disk", "1MB", 5]),
        "browser": st.booleans(),
        "command": st.just(["node"]),
        "result": st.sampled_from(["json", "return", "none"]),
    }))  # fmt: skip
    try:
        manifest = of_values(**values)
    except Invalid as error:
        assert str(error).startswith("the manifest of report is not valid: ")
        return
    assert manifest.network in (None, "none", "host")
    assert manifest.scratch in (None, "memory", "disk")
    assert not (manifest.command and (manifest.entry_point or manifest.preload or manifest.result == "return"))
    assert not manifest.browser or (manifest.limits().memory and manifest.memory_to_count())


def test_the_manifests_that_the_guide_shows() -> None:
    for text in blocks(ROOT / "docs" / "how-to" / "write-a-manifest.md", "toml"):
        assert of_folder(text) != Manifest()


@pytest.mark.parametrize(
    ("line", "field", "what"),
    [
        ('memory_limit = "12 potatoes"', "memory_limit", "is no size"),
        ("memory_limit = 0", "memory_limit", "must be above 0"),
        ("memory_limit = true", "memory_limit", "is no size"),
        ('timeout = "soon"', "timeout", "is no duration"),
        ("timeout = 0", "timeout", "must be above 0"),
        ("timeout = -1", "timeout", "is no duration"),
        ("timeout = inf", "timeout", "is no duration"),
        ("priority = 12", "priority", "is 12; it must be at most 9"),
        ("priority = -1", "priority", "must be at least 0"),
        ('priority = "high"', "priority", "must be a whole number, not 'high'"),
        ("priority = 1.5", "priority", "must be a whole number"),
        ("processes = 0", "processes", "must be above 0"),
        ('result = "yaml"', "result", "must be one of 'json'"),
        ('on_lost = "panic"', "on_lost", "must be one of 'retry' or 'fail'"),
        ('queue = "a b"', "queue", "not allowed here"),
        ('rate = "often"', "rate", "is no rate"),
        ("version = 1.2", "version", "must be text, not 1.2"),
        ('entry_point = "../../etc/passwd"', "entry_point", "is no path"),
        ('entry_point = "/etc/passwd"', "entry_point", "is no path"),
        ('artifacts = ["../x"]', "artifacts/0", "is no path"),
        ('env = ["A B"]', "env/0", "not allowed here"),
        ('env = ["PUMASI_TOKEN"]', "env/0", "our own"),
        ('secrets = ["pumasi_token"]', "secrets/0", "our own"),
        ('env = "HOME"', "env", "must be a list"),
        ('preload = ["os; import sys"]', "preload/0", "not allowed here"),
        ("labels = { a = 1 }", "labels/a", "must be text"),
        ('retry = "often"', "retry", "must be a table"),
        ("retry = { max_attempts = 0 }", "retry/max_attempts", "at least 1"),
        ("retry = { max_attempts = 1.5 }", "retry/max_attempts", "whole number"),
        ('retry = { on = ["rain"] }', "retry/on/0", "must be one of 'exit'"),
        ("retry = { max_atempts = 2 }", "retry/max_atempts", "there is no such field"),
        ("memorylimit = 3", "memorylimit", "did you mean memory_limit?"),
        ("potatoes = 3", "potatoes", "there is no such field"),
        ('network = "public"', "network", "does not exist yet"),
        ('network = ["example.org"]', "network", "does not exist yet"),
        ('network = "wild"', "network", "must be one of 'host'"),
        ('command = "node x.js"', "command", "must be a list"),
        ('command = ["node", 3]', "command/1", "must be text, not 3"),
        ("command = []", "command", "at least 1"),
        ('command = [""]', "command", "first word is the program"),
        ('command = ["a\\u0000"]', "command/0", "NUL character"),
        ('python = "3.13"', "python", "does not exist"),
        ('parameters = { type = "objekt" }', "parameters", "/type: 'objekt'"),
        ('parameters = { "$ref" = "http://127.0.0.1:9/x.json" }', "parameters", "outside the schema"),
        ('parameters = { "$ref" = "file:///etc/passwd" }', "parameters", "outside the schema"),
        ("parameters = { default = 2020-01-01 }", "parameters", "no JSON"),
        ("parameters = { default = nan }", "parameters", "no JSON"),
        ("parameters = 3", "parameters", "must be a table"),
        ("expires = 0", "expires", "must be above 0"),
    ],
)  # fmt: skip
def test_each_wrong_field_is_named(line: str, field: str, what: str) -> None:
    assert what in problems(line)[field]


def test_all_wrong_fields_at_once() -> None:
    assert set(problems('priority = 12\ntimeout = 0\nnope = 1\nmemory_limit = "x"')) == {
        "priority", "timeout", "nope", "memory_limit",
    }  # fmt: skip


def test_keyed_limits_need_both_sides() -> None:
    assert "need a key" in str(problems('rate = "1/s"'))
    assert "needs a concurrency or a rate" in str(problems('key = "x"'))


@pytest.mark.parametrize("text", [b"a =", b"\xff\xfe", b"a = 1\na = 2", b"x = " + b"[" * 50_000, b"a=1\n" * 200_000])
def test_what_is_no_toml(text: bytes) -> None:
    with pytest.raises(Invalid, match=r"report/pumasi\.toml"):
        read_manifest({"pumasi.toml": text, "main.py": b""}, "report")


def test_a_table_where_none_should_be() -> None:
    source = textwrap.dedent("""\
        # /// script
        # tool.pumasi = 3
        # ///
    """)
    with pytest.raises(Invalid, match=r"tool\.pumasi is a table"):
        read_manifest({"x.py": source.encode()}, "x")
