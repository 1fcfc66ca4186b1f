import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from pumasi.broker import Broker
from pumasi.core.job import MAX_PARAMETERS


async def _fields(api: httpx2.AsyncClient, body: dict[str, Any]) -> dict[str, str]:
    answer = await api.post("/v1/jobs", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"] == "BadFields"
    return {bad["field"]: bad["message"] for bad in answer.json()["details"]["fields"]}


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({}, "/script", "required"),
        ({"script": 3}, "/script", "text"),
        ({"script": "../../etc/x"}, "/script", "never a path"),
        ({"script": "catalogue", "version": "../1"}, "/version", "version"),
        ({"script": "catalogue@1", "version": "2"}, "/version", "catalogue@1"),
        ({"script": "catalogue", "priority": 12}, "/priority", "0 to 9"),
        ({"script": "catalogue", "priority": "high"}, "/priority", "whole number"),
        ({"script": "catalogue", "priority": True}, "/priority", "whole number"),
        ({"script": "catalogue", "timeout": 0}, "/timeout", "above 0"),
        ({"script": "catalogue", "timeout": -1}, "/timeout", "duration"),
        ({"script": "catalogue", "limits": {"memory": "12 potatoes"}}, "/limits/memory", "12 potatoes"),
        ({"script": "catalogue", "limits": {"memory": 0}}, "/limits/memory", "above 0"),
        ({"script": "catalogue", "limits": {"memry": 1}}, "/limits/memry", "unknown"),
        ({"script": "catalogue", "parameters": [1]}, "/parameters", "JSON object"),
        ({"script": "catalogue", "parameters": {"a": "x" * MAX_PARAMETERS}}, "/parameters", "1048576"),
        ({"script": "catalogue", "args": "one"}, "/args", "list"),
        ({"script": "catalogue", "args": ["a\0b"]}, "/args", "NUL"),
        ({"script": "catalogue", "args": ["x" * 200_000]}, "/args", "bytes"),
        ({"script": "catalogue", "queue": "a b"}, "/queue", "queue"),
        ({"script": "catalogue", "run_at": "tomorrow"}, "/run_at", "ISO 8601"),
        ({"script": "catalogue", "run_at": "2030-01-01T00:00:00"}, "/run_at", "offset"),
        ({"script": "catalogue", "run_at": 1e300}, "/run_at", "Unix seconds"),
        ({"script": "catalogue", "run_at": 1, "delay": 1}, "/delay", "run_at"),
        ({"script": "catalogue", "retry": {"on": ["boredom"]}}, "/retry/on/0", "one of"),
        ({"script": "catalogue", "retry": 1000}, "/retry/max_attempts", "100"),
        ({"script": "catalogue", "result": "xml"}, "/result", "one of"),
        ({"script": "catalogue", "labels": {"a": 1}}, "/labels/a", "text"),
        ({"script": "catalogue", "unique": "x" * 200}, "/unique", "128"),
        ({"script": "catalogue", "rate": "fast"}, "/rate", "rate"),
        ({"script": "catalogue", "key": "{params.shop}", "concurrency": 1}, "/key", "params.shop"),
        ({"script": "catalogue", "colour": "red"}, "/colour", "unknown"),
    ],
)
async def test_each_bad_field_is_named(api: httpx2.AsyncClient, body: dict[str, Any], field: str, words: str) -> None:
    found = await _fields(api, body)
    assert list(found) == [field]
    assert words in found[field]


async def test_all_bad_fields_are_named_at_once(api: httpx2.AsyncClient, broker: Broker) -> None:
    answer = await api.post(
        "/v1/jobs", json={"script": "catalogue", "priority": 12, "timeout": 0, "limits": {"memory": "12 potatoes"}}
    )
    assert [bad["field"] for bad in answer.json()["details"]["fields"]] == ["/priority", "/timeout", "/limits/memory"]
    for field in ("/priority", "/timeout", "/limits/memory"):
        assert field in answer.json()["message"]
    assert (await broker.stats()).jobs == ()


async def test_parameters_are_held_against_the_schema_of_the_script(api: httpx2.AsyncClient, scripts: Path) -> None:
    (scripts / "typed").mkdir()
    (scripts / "typed" / "main.py").write_text("def main(page, shop):\n    return page\n")
    (scripts / "typed" / "pumasi.toml").write_text(
        "[parameters]\ntype = 'object'\nrequired = ['shop']\nadditionalProperties = false\n"
        "[parameters.properties.page]\ntype = 'integer'\nminimum = 1\n"
        "[parameters.properties.shop]\ntype = 'string'\n"
    )
    bad = await _fields(api, {"script": "typed", "parameters": {"page": "three", "colour": "red"}})
    assert set(bad) == {"/parameters/page", "/parameters/shop", "/parameters/colour"}
    assert "integer" in bad["/parameters/page"]
    assert bad["/parameters/shop"] == "is required"
    assert "page, shop" in bad["/parameters/colour"]
    assert await _fields(api, {"script": "typed"}) == {"/parameters/shop": "is required"}
    good = await api.post("/v1/jobs", json={"script": "typed", "parameters": {"page": 1, "shop": "a"}})
    assert good.status_code == 201


async def test_an_unknown_script_or_version_names_near_ones(api: httpx2.AsyncClient, scripts: Path) -> None:
    answer = await api.post("/v1/jobs", json={"script": "catalog"})
    assert (answer.status_code, answer.json()["error"]) == (404, "ScriptNotFound")
    assert "catalogue" in answer.json()["message"]
    (scripts / "catalogue@1.2.py").write_text("pass\n")
    version = await api.post("/v1/jobs", json={"script": "catalogue", "version": "1.3"})
    assert version.status_code == 404
    assert "1.2" in version.json()["message"]


async def test_a_script_with_a_syntax_error_names_file_and_line(api: httpx2.AsyncClient, scripts: Path) -> None:
    (scripts / "broken.py").write_text("x = 1\ny = (\n")
    answer = await api.post("/v1/jobs", json={"script": "broken"})
    assert answer.status_code == 422
    assert "broken.py" in answer.json()["message"]
    assert "2" in answer.json()["message"]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "",
        "[]",
        '{"script": "catalogue", "parameters": {"a": NaN}}',
        '{"script": "catalogue", "parameters": {"a": 1, "a": 2}}',
        '{"script": "catalogue", "parameters": {"a": "\\ud800"}}',
        '{"script": "catalogue", "parameters": {"a": 1e999}}',
        '{"script": "catalogue", "parameters": {"a": ' + "9" * 5000 + "}}",
        '{"script": "catalogue", "parameters": {"a": ' + "[" * 100_000 + "]" * 100_000 + "}}",
        b'{"script": "\xff"}',
    ],
)
async def test_only_strict_json_is_taken(api: httpx2.AsyncClient, text: str | bytes) -> None:
    answer = await api.post("/v1/jobs", content=text, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["error"] == "Invalid"


async def test_a_body_of_another_type_is_not_read(api: httpx2.AsyncClient) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = await api.post("/v1/jobs", content=b'{"script": "catalogue"}', headers={"Content-Type": kind})
        assert answer.status_code == 415


async def test_a_body_over_the_cap_is_refused(api: httpx2.AsyncClient) -> None:
    huge = json.dumps({"script": "catalogue", "args": ["x" * 9_000_000]}).encode()
    answer = await api.post("/v1/jobs", content=huge, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413

    async def unannounced() -> Any:
        for start in range(0, len(huge), 65536):
            yield huge[start : start + 65536]

    answer = await api.post("/v1/jobs", content=unannounced(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


async def test_what_is_not_there_and_what_is_not_possible(api: httpx2.AsyncClient) -> None:
    assert (await api.get("/v1/jbos")).status_code == 404
    assert (await api.delete("/v1/jobs")).status_code == 405
    assert (await api.get("/v1/jobs")).headers["content-type"] == "application/json"


async def test_errors_are_told_in_the_language_asked_for(api: httpx2.AsyncClient) -> None:
    for language in ("ko", "en"):
        headers = {"Accept-Language": f"fr, {language}-XX;q=0.8, *;q=0.1"}
        answer = await api.get("/v1/jobs/none", headers=headers)
        assert answer.headers["content-language"] == language
        assert answer.json()["text"].startswith("There is no job")


async def test_an_idempotency_key_may_not_be_endless(api: httpx2.AsyncClient) -> None:
    answer = await api.post("/v1/jobs", json={"script": "catalogue"}, headers={"Idempotency-Key": "x" * 200})
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["message"]
