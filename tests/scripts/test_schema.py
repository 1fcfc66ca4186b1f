"""Parameters against a schema: each field named, nothing fetched."""

from typing import Any

import pytest

from pumasi.errors import Invalid
from pumasi.scripts.schema import check_parameters, check_schema

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["category"],
    "additionalProperties": False,
    "properties": {
        "category": {"type": "string", "minLength": 1},
        "page": {"$ref": "#/$defs/page"},
        "options": {"type": "object", "properties": {"a/b": {"type": "boolean"}}},
    },
    "$defs": {"page": {"type": "integer", "minimum": 1}},
}


def test_what_fits() -> None:
    check_schema(SCHEMA)
    assert check_parameters(SCHEMA, {"category": "tea", "page": 2}) == []


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ({}, ["/: 'category' is a required property"]),
        ({"category": 3}, ["/category: 3 is not of type 'string'"]),
        ({"category": "tea", "page": "x"}, ["/page: 'x' is not of type 'integer'"]),
        ({"category": "tea", "page": 0}, ["/page: 0 is less than the minimum of 1"]),
        ({"category": "tea", "options": {"a/b": 1}}, ["/options/a~1b: 1 is not of type 'boolean'"]),
    ],
)
def test_what_does_not(values: dict[str, Any], lines: list[str]) -> None:
    assert check_parameters(SCHEMA, values) == lines


def test_all_at_once() -> None:
    lines = check_parameters(SCHEMA, {"category": "", "page": 0, "more": 1})
    assert [line.partition(":")[0] for line in lines] == ["/", "/category", "/page"]


def test_a_flood_of_mistakes_is_cut() -> None:
    schema = {"items": {"type": "integer"}, "type": "array"}
    lines = check_parameters(schema, ["x"] * 1000)
    assert len(lines) == 21
    assert lines[-1] == "… 980"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "objekt"},
        {"properties": 3},
        {"$ref": "https://example.org/schema.json"},
        {"properties": {"a": {"items": [{"$ref": "other.json"}]}}},
        {"$dynamicRef": "https://example.org/schema.json"},
        {"minimum": float("nan")},
        {"default": {1, 2}},
    ],
)
def test_what_is_no_schema(schema: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        check_schema(schema)


def test_endless_things() -> None:
    deep: Any = []
    for _ in range(900):
        deep = [deep]
    recursive = {"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}
    assert check_parameters(recursive, deep) in ([], ["/: nested too deeply"])
    assert check_parameters({"$ref": "#/$defs/b", "$defs": {"b": {"$ref": "#/$defs/b"}}}, 1) == ["/: nested too deeply"]
    assert check_parameters({"$ref": "#/nowhere"}, 1)[0].startswith("/: ")
