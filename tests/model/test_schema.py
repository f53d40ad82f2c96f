"""The editor schema: what loads is valid by it, what is misspelt or of a wrong type is not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from cockpit.model.export import nested
from cockpit.model.fields import FILE
from cockpit.model.kinds import MapOf, Object
from cockpit.model.schema import json_schema
from cockpit.model.topology import Expected
from tests.model.make import topologies

ROOT = Path(__file__).parents[2]
SCHEMA = json_schema()
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,), "null": (type(None),),
    "integer": (int,), "number": (int, float),
}  # fmt: skip
KEYWORDS = {
    "$schema", "$defs", "$ref", "title", "description", "default", "format", "type", "properties",
    "patternProperties", "additionalProperties", "required", "enum", "const", "anyOf", "oneOf", "items",
    "minItems", "uniqueItems", "pattern", "minimum", "maximum", "minLength", "minProperties", "if", "then", "else",
}  # fmt: skip


def is_of(value: Any, name: str) -> bool:
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def valid(value: Any, schema: dict[str, Any]) -> bool:
    """The part of draft 2020-12 that the schema uses."""
    assert schema.keys() <= KEYWORDS
    if "$ref" in schema and not valid(value, SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")]):
        return False
    if "type" in schema:
        names = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        if not any(is_of(value, name) for name in names):
            return False
    if "if" in schema and not valid(value, schema["then"] if valid(value, schema["if"]) else schema["else"]):
        return False
    same = [v for v in schema.get("enum", [value]) if v == value and type(v) is type(value)]
    if not same or ("const" in schema and (schema["const"] != value or type(schema["const"]) is not type(value))):
        return False
    if "anyOf" in schema and not any(valid(value, s) for s in schema["anyOf"]):
        return False
    if "oneOf" in schema and sum(valid(value, s) for s in schema["oneOf"]) != 1:
        return False
    if isinstance(value, dict):
        return valid_object(value, schema)
    if isinstance(value, list):
        apart = not schema.get("uniqueItems") or len({json.dumps(v) for v in value}) == len(value)
        return apart and len(value) >= schema.get("minItems", 0) and all(
            valid(v, schema.get("items", {})) for v in value
        )  # fmt: skip
    if isinstance(value, str):
        return len(value) >= schema.get("minLength", 0) and bool(re.search(schema.get("pattern", ""), value))
    if isinstance(value, (int, float)):
        return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))
    return True


def valid_object(value: dict[str, Any], schema: dict[str, Any]) -> bool:
    if not set(schema.get("required", ())) <= value.keys() or len(value) < schema.get("minProperties", 0):
        return False
    for key, inner in value.items():
        known = [schema["properties"][key]] if key in schema.get("properties", {}) else []
        known += [s for p, s in schema.get("patternProperties", {}).items() if re.search(p, key)]
        if not all(valid(inner, s) for s in known):
            return False
        if not known and not schema.get("additionalProperties", True):
            return False
    return True


def test_it_is_json_and_every_key_has_a_description() -> None:
    def walk(node: Any) -> None:
        if isinstance(node, dict):
            for name, inner in node.get("properties", {}).items():
                assert inner["description"].endswith("."), name
            for inner in node.values():
                walk(inner)

    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    walk(SCHEMA)


@pytest.mark.parametrize("name", ["sample_topology.yaml", "tests/model/data/full.yaml"])
def test_files_that_load_are_valid(name: str) -> None:
    doc = yaml.safe_load((ROOT / name).read_text())
    assert valid(json.loads(json.dumps(doc)), SCHEMA)  # keys are texts in JSON


@given(topologies())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_exported_is_valid(x: Expected) -> None:
    assert valid(json.loads(json.dumps(FILE.write(nested(x)))), SCHEMA)


BROKEN: list[tuple[str, Any]] = [
    ("name", 5), ("cockpit", 2), ("nmae", "x"), ("hosts.sh-1.region", None), ("hosts.sh-1.lables", {}),
    ("hosts.sh-1.ports", "20000"), ("hosts.sh-1.connection", "smoke"), ("hosts.SH", {}), ("regions.sh.reaches", "bj"),
    ("tree.puzzle.cluster", "yes"), ("tree.puzzle.chidlren", {}),
    *[(f"tree.puzzle.children.web.{key}", value) for key, value in [
        ("command", "python3 web.py"), ("command", []), ("processes", {"a": ["x"]}), ("cmd", ["x"]),
        ("version", ["1"]), ("ports", {"http": 0}), ("ports", {"http": "dyn"}), ("ports", ["a", "a"]),
        ("check.interval", "soon"), ("check.http", "health"), ("check.tcp", False), ("instances", -1),
        ("instances.cuont", 2), ("instances.require", ["ssd"]), ("stop.signal", "TRM"), ("restart", "sometimes"),
        ("update.order", "first"), ("limits", {"memory": "5X"}), ("secrets", {"A": "hunter2"}), ("env", ["A=b"]),
        ("depends", "sudoku"), ("children", {}),
    ]],
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), BROKEN, ids=[f"{p}={v}"[-40:] for p, v in BROKEN])
def test_broken_files_are_not(path: str, value: Any) -> None:
    doc = yaml.safe_load((ROOT / "sample_topology.yaml").read_text())
    *above, last = path.split(".")
    node = doc
    for key in above:
        node = node[key]
    node[last] = value
    assert not valid(doc, SCHEMA)


def test_loader_and_schema_know_the_same_keys() -> None:
    """They come from one table; this guards the walk over it."""

    def keys(kind: Any, schema: dict[str, Any]) -> None:
        for inner in schema.get("anyOf", [schema]):
            schema = inner if "properties" in inner or "patternProperties" in inner else schema
        if isinstance(kind, Object):
            assert set(kind.table) == set(schema["properties"])
            for field in kind.fields:
                keys(field.kind, schema["properties"][field.key])
        elif isinstance(kind, MapOf):
            keys(kind.value, schema["patternProperties"][kind.pattern])

    keys(FILE, SCHEMA)
    from cockpit.model.fields import GROUP, SERVICE

    keys(GROUP, SCHEMA["$defs"]["group"])
    keys(SERVICE, SCHEMA["$defs"]["service"])
