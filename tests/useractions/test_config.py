"""actions.toml: what is taken, and every complaint with its line and the nearest word."""

from __future__ import annotations

from pathlib import Path

import pytest

from cockpit.useractions.config import Input, load, parse

GOOD = """
[actions.ping]
about = "ask it"
argv = ["curl", "http://{address}:{port:http}/health"]
on = ["instance", "service"]
class = "observe"
key = "p"
timeout = 5

[actions.move-logs]
argv = ["rotate", "{id*}", "--keep", "{keep}"]
where = "hosts"
user = "log"
env = {LEVEL = "3"}

[[actions.move-logs.inputs]]
name = "keep"
type = "number"
default = 7
"""


def test_what_is_sound_is_taken() -> None:
    (ping, move), problems = parse(GOOD, "f")
    assert problems == []
    assert (ping.name, ping.risk, ping.on, ping.timeout, ping.key, ping.line) == (
        "ping", "observe", ("instance", "service"), 5.0, "p", 2)
    assert (move.risk, move.where, move.user, move.env) == ("change", "hosts", "log", {"LEVEL": "3"})
    assert move.inputs == (Input(name="keep", type="number", default="7"),)


@pytest.mark.parametrize(("body", "line", "words"), [
    ('argv = ["x"]\nclas = "observe"', 3, "unknown key 'clas' (did you mean \"class\"?)"),
    ('argv = ["x"]\nclass = "destroy"', 3, "class is one of observe, change, destructive, not 'destroy'"),
    ('argv = "rm -rf /"', 2, "argv is a list of words"),
    ('about = "x"', 1, "argv is a list of words"),
    ('argv = []', 2, "argv is a list of words"),
    ('argv = ["x", "{hots}"]', 2, "no field {hots} in '{hots}' (did you mean \"host\"?)"),
    ('argv = ["x", "a{id*}"]', 2, "{id*} stands alone"),
    ('argv = ["x", "{id"]', 2, "a single '{'"),
    ('argv = ["x"]\non = "hosts"', 3, "on is one of instance, service, host, not 'hosts' (did you mean \"host\"?)"),
    ('argv = ["x"]\nwhere = "there"', 3, "where is one of here, hosts"),
    ('argv = ["x"]\ntimeout = 0', 3, "timeout is a number, more than 0"),
    ('argv = ["x"]\ntimeout = true', 3, "timeout is a number"),
    ('argv = ["x"]\nenv = {A = 1}', 3, "env is a table of words"),
    ('argv = ["x"]\n[[actions.a.inputs]]\nname = "host"', 3, "an input's name"),
    ('argv = ["x"]\n[[actions.a.inputs]]\nname = "n"\ntype = "choice"', 3, "a choice needs choices"),
    ('argv = ["x"]\n[[actions.a.inputs]]\nname = "n"\ntyp = "bool"', 5, "unknown key 'typ' (did you mean \"type\"?)"),
])  # fmt: skip
def test_every_complaint_has_its_line(body: str, line: int, words: str) -> None:
    found, problems = parse(f"[actions.a]\n{body}\n[actions.b]\nargv = ['y']\n", "actions.toml")
    assert [a.name for a in found] == ["b"], "the others still work"
    assert len(problems) == 1 and words in str(problems[0])
    assert str(problems[0]).startswith(f"actions.toml:{line}:")


def test_other_complaints() -> None:
    _, (syntax,) = parse("[actions.a]\nargv = [\n", "f")
    assert str(syntax).startswith("f:")
    _, (top,) = parse("[action.a]\nargv = ['x']\n", "f")
    assert 'did you mean "actions"?' in str(top)
    _, (name,) = parse("[actions.'A B']\nargv = ['x']\n", "f")
    assert name.line == 1 and "an action's name" in name.text
    _, (key,) = parse("[actions.a]\nargv = ['x']\nkey = 'p'\n[actions.b]\nargv = ['x']\nkey = 'p'\n", "f")
    assert key.line == 6 and "taken by a" in key.text


def test_the_file_of_the_cluster_comes_after_the_other(tmp_path: Path) -> None:
    env = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert load("prod", env).actions == () and len(load("prod", env).files) == 2
    assert len(load("../../etc", env).files) == 1, "a name is no way out"
    base, own = tmp_path / "cockpit" / "actions.toml", tmp_path / "cockpit" / "prod" / "actions.toml"
    own.parent.mkdir(parents=True)
    base.write_text("[actions.a]\nargv = ['one']\n[actions.b]\nargv = ['two']\n")
    own.write_text("[actions.a]\nargv = ['three']\n")
    assert {a.name: a.argv[0] for a in load("prod", env).actions} == {"a": "three", "b": "two"}
    assert {a.name: a.argv[0] for a in load("other", env).actions} == {"a": "one", "b": "two"}
    base.chmod(0o666)
    loaded = load("other", env)
    assert loaded.actions == () and "others may write to it" in str(loaded.problems[0])
    base.chmod(0o600)
    base.write_bytes(b"\xff\xfe")
    assert "not UTF-8" in str(load("other", env).problems[0])


@pytest.mark.parametrize(("each", "value", "ok"), [
    (Input(name="n", type="number"), "1.5", True), (Input(name="n", type="number"), "x", False),
    (Input(name="n", type="choice", choices=("a", "b")), "b", True),
    (Input(name="n", type="choice", choices=("a", "b")), "c", False),
    (Input(name="n", type="bool"), "yes", True), (Input(name="n", type="bool"), "1", False),
    (Input(name="n"), "", True), (Input(name="n"), "a\0b", False),
])  # fmt: skip
def test_inputs_are_typed(each: Input, value: str, ok: bool) -> None:
    assert (each.wrong(value) == "") is ok
