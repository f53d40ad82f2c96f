"""The spec that an agent gets."""

from __future__ import annotations

import msgspec
import pytest

from cockpit.model.topology import Check, Data, Limits, Runtime, Secret, Stop
from cockpit.plan.unitspec import config_digest, unit_spec
from tests.plan.world import expected, service

KEYS = [
    "unit", "instance", "gen", "service", "slot", "cluster", "region", "host", "version", "artifact", "processes",
    "env", "secrets", "directory", "user", "limits", "ports", "check", "probe", "restart", "stop", "attributes",
    "config", "data",
]  # fmt: skip


def test_every_field_of_the_protocol() -> None:
    web = service(
        "1.1.0", 2, artifact="web", env={"A": "{host}"}, secrets={"KEY": Secret(file="/etc/key")},
        limits=Limits(open_files=100), check=Check(tcp=""), stop=Stop(signal="INT", grace=3.0, drain=9.0),
    )  # fmt: skip
    world = expected({"p.web": web})
    spec = unit_spec(world, "p.web/1", 5, {"sha256": "ab", "size": 9})
    assert list(spec) == KEYS
    assert msgspec.json.decode(msgspec.json.encode(spec)) == spec
    assert (spec["unit"], spec["slot"], spec["cluster"], spec["host"], spec["region"]) == (
        "p.web/1:5", 1, "p", "sh-2", "bj",
    )  # fmt: skip
    assert spec["artifact"] == {"name": "web", "version": "1.1.0", "sha256": "ab"}
    assert spec["secrets"] == {"KEY": "/etc/key"} and spec["limits"] == {"open_files": 100}
    assert spec["check"] == {
        "tcp": "", "notify": False, "interval": 1.0, "timeout": 1.0, "rise": 1, "fall": 3,
    }  # fmt: skip
    assert spec["probe"] is None and spec["stop"] == {"signal": "INT", "grace": 3.0}
    assert spec["restart"]["mode"] == "always" and "attempts" not in spec["restart"]
    assert spec["config"] == config_digest(world, "p.web/1")


def test_runtime_and_logs_stand_only_where_they_are_declared() -> None:
    web = service(runtime=Runtime(systemd="web@{slot}"), logs={"access": "/var/log/a"})
    world = expected({"p.web": web})
    spec = unit_spec(world, "p.web/0", 1)
    assert spec["runtime"] == {"systemd": "web@{slot}"} and spec["logs"] == {"access": "/var/log/a"}
    others = [service(), service(logs=web.logs), web]
    assert len({config_digest(expected({"p.web": other}), "p.web/0") for other in others}) == 3


def test_without_an_artifact_and_unknown() -> None:
    world = expected({"p.web": service()})
    assert unit_spec(world, "p.web/0", 1)["artifact"] is None
    with pytest.raises(KeyError):
        unit_spec(world, "p.web/9", 1)


def test_data_with_its_digests() -> None:
    data = {"words": Data(artifact="wordlist", version="5"), "unset": Data(artifact="x")}
    world = expected({"p.web": service(data=data)})
    found = unit_spec(world, "p.web/0", 1, None, {"words": {"version": "4", "sha256": "ab"}})["data"]
    assert found == {"words": {"artifact": "wordlist", "version": "4", "sha256": "ab"}}
    assert unit_spec(world, "p.web/0", 1)["data"]["words"]["version"] == "5"
