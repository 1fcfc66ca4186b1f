"""Parameters against a script's schema: each wrong field named, nothing fetched."""

from typing import Any

import pytest

from pumasi.errors import Invalid
from pumasi.intake.parameters import wrong_parameters

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


def fields(schema: dict[str, Any], values: Any) -> list[str]:
    return [problem.at for problem in wrong_parameters(schema, values)]


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({"category": "tea", "page": 2}, []),
        ({}, ["/parameters/category"]),
        ({"category": 3}, ["/parameters/category"]),
        ({"category": "tea", "page": 0}, ["/parameters/page"]),
        ({"category": "tea", "options": {"a/b": 1}}, ["/parameters/options/a~1b"]),
        ({"category": "", "page": 0, "more": 1}, ["/parameters/more", "/parameters/category", "/parameters/page"]),
    ],
)
def test_each_wrong_field_is_named(values: dict[str, Any], wrong: list[str]) -> None:
    assert fields(SCHEMA, values) == wrong


def test_a_flood_of_mistakes_is_cut() -> None:
    assert len(fields({"properties": {"a": {"items": {"type": "integer"}}}}, {"a": ["x"] * 1000})) == 20


def test_endless_things_end() -> None:
    deep: Any = []
    for _ in range(900):
        deep = [deep]
    recursive = {"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}
    for schema, values in (
        ({"$ref": "#/$defs/b", "$defs": {"b": {"$ref": "#/$defs/b"}}}, 1),
        ({"$ref": "#/nowhere"}, 1),
    ):
        with pytest.raises(Invalid):
            wrong_parameters(schema, values)  # type: ignore[arg-type]
    try:
        assert fields(recursive, deep) == []
    except Invalid as error:
        assert "deeply" in str(error)
