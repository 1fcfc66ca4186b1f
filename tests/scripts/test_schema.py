"""Schemas of parameters: checked when a script is resolved, and nothing is fetched."""

from typing import Any

import pytest

from pumasi.errors import Invalid
from pumasi.scripts.schema import check_schema


def test_what_is_a_schema() -> None:
    check_schema(
        {"type": "object", "properties": {"page": {"$ref": "#/$defs/page"}}, "$defs": {"page": {"minimum": 1}}}
    )


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
