"""The page `/docs`: the description of the API (`/openapi.json`), written out as plain HTML."""

from collections.abc import Iterator
from html import escape
from typing import Any

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Pumasi API</title><style>
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
code, pre { font-family: ui-monospace, monospace; font-size: .9em }
details { border-top: 1px solid #8886; padding: .4rem 0 } summary { cursor: pointer }
table { border-collapse: collapse; margin: .5rem 0 } td, th { text-align: left; padding: .1rem 1rem .1rem 0 }
b { display: inline-block; min-width: 4rem; color: #06c }
</style></head><body>
"""


def docs_page(api: dict[str, Any]) -> str:
    """The whole page."""
    return _HEAD + "".join(_page(api)) + "</body></html>\n"


def _page(api: dict[str, Any]) -> Iterator[str]:
    info = api["info"]
    yield f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info.get('description', ''))}</p>"
    yield '<p>The same for programs: <a href="/openapi.json">openapi.json</a></p><h2>Calls</h2>'
    for path, calls in api["paths"].items():
        for method, call in calls.items():
            yield from _call(path, method, call)
    yield "<h2>Forms</h2>"
    for name, schema in sorted(api.get("components", {}).get("schemas", {}).items()):
        yield f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary>'
        yield f"<p>{escape(schema.get('description', ''))}</p>{_fields(schema)}</details>"


def _call(path: str, method: str, call: dict[str, Any]) -> Iterator[str]:
    yield f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code></summary>"
    yield f"<p>{escape(call.get('description', ''))}</p>"
    rows = [
        _row(f"{field['name']} ({field['in']})", field.get("schema", {}), field.get("required", False), field)
        for field in call.get("parameters", ())
    ]
    yield f"<table>{''.join(rows)}</table>"
    body = call.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body:
        yield f"<p>Body: {_type(body)}</p>"
    for status, answer in call.get("responses", {}).items():
        content: dict[str, Any] = next(iter(answer.get("content", {}).values()), {})
        yield f"<p>{escape(status)}: {_type(content.get('schema', {}))} {escape(answer.get('description', ''))}</p>"
    yield "</details>"


def _fields(schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    rows = [_row(name, field, name in required, field) for name, field in schema.get("properties", {}).items()]
    return f"<table>{''.join(rows)}</table>"


def _row(name: str, schema: dict[str, Any], required: bool, about: dict[str, Any]) -> str:
    words = escape(about.get("description", schema.get("description", "")))
    mark = " *" if required else ""
    return f"<tr><td><code>{escape(name)}</code>{mark}</td><td>{_type(schema)}</td><td>{words}</td></tr>"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rsplit("/", 1)[-1])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " | ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {})) or 'any'}"
    return escape(str(schema.get("type", "")))
