"""The manifest: every field, where it stands, and how wrong ones are named."""

import textwrap
from typing import Any

import pytest

from pumasi.core.job import Cause, Limits, Retry
from pumasi.errors import Invalid
from pumasi.scripts.manifest import Manifest, read_manifest

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
    assert "says where the scratch is" in str(problems('scratch = "1MB"'))


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
        ("command = []", "command", ""),
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
