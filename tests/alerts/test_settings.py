"""The alerts file: what it may say, and where what it may not say stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from cockpit.alerts.settings import DRIFT, LOOP, Rule, Settings, Target, load, parse
from cockpit.model.problems import BadTopology

GOOD = b"""
targets:
  ops: {webhook: "https://hooks.example/T1/secret", headers: {Authorization: "Bearer x"}}
  pager: {command: [/usr/local/bin/page, --high]}
  log: {syslog: local3}
rules:
  - {when: crash-loop, to: [ops, pager], restarts: 5, within: 30s, services: [puzzle.*], regions: [sh]}
  - {when: drift, for: 5m, to: [log], repeat: 1h}
collect: 100ms
"""


def test_a_whole_file() -> None:
    found = parse(GOOD)
    assert found.targets["ops"].words == "webhook hooks.example", "the path of a URL is a secret"
    assert found.targets["pager"] == Target(command=("/usr/local/bin/page", "--high"))
    loop, drift = found.rules
    assert (loop.when, loop.restarts, loop.within, loop.services) == (LOOP, 5, 30.0, ("puzzle.*",))
    assert drift == Rule(when=DRIFT, to=("log",), lasting=300.0, repeat=3600.0) and found.collect == 0.1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: [{when: crsh}]", '1:16: "crsh" is not one of'),
        ("rules: [{when: crash, to: [opps]}]\ntargets: {ops: {syslog: user}}", 'there is no target "opps" (did you'),
        ("targets: {ops: {webhook: ftp://x}}", "is not an http or https URL"),
        ("targets: {ops: {syslog: user, command: [x]}}", "exactly one of"),
        ("targets: {ops: {}}", "exactly one of"),
        ("targets: {ops: {command: [x], headers: {A: b}}}", "only a webhook has headers"),
        ("rules: [{to: [x]}]", 'a rule needs "when"'),
        ("rulse: []", '(did you mean "rules"?)'),
        ("rules: [{when: crash, for: soon}]", "is not a duration"),
        ("rules: [{when: crash-loop, restarts: 1}]", "between 2 and 1000"),
        ("a: [", "alerts.yaml:"),
    ],
)
def test_what_is_wrong_has_a_place(text: str, said: str) -> None:
    with pytest.raises(BadTopology) as e:
        parse(text.encode())
    assert said in str(e.value) and "alerts.yaml:" in str(e.value)


def test_no_file_means_the_built_in_rules(tmp_path: Path) -> None:
    path = tmp_path / "alerts.yaml"
    assert load(path) == Settings() and {r.when for r in Settings().rules} == {LOOP, "unknown", DRIFT, "stopped"}
    path.write_text("# nothing yet\n")
    with pytest.raises(BadTopology, match="the file is empty"):
        load(path)


def test_secrets_that_others_may_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "alerts.yaml"
    path.write_bytes(GOOD)
    path.chmod(0o644)
    with pytest.raises(BadTopology, match="chmod 600"):
        load(path)
    path.chmod(0o600)
    assert load(path).targets
