"""keygen, approve, verify; and a deploy that wants a signature."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.controller.fakes import Background

TOPOLOGY = """\
cockpit: 1
name: still
regions: {sh: }
hosts: {a-1: {region: sh, address: 127.0.9.1}}
signers: {qa: ["KEY"], build: ["KEY"]}
tree: {shop: {children: {web: {artifact: web, version: "1", command: [serve], instances: 0, signatures: [qa]}}}}
"""


@pytest.fixture
def key(run: Run, tmp_path: Path) -> tuple[Path, str]:
    """A key's file and its public half."""
    code, out, _ = run("artifact", "keygen", "qa", "--out", tmp_path / "qa.pem", "--json")
    assert code == 0
    return tmp_path / "qa.pem", json.loads(out)["key"]


@pytest.fixture
def state(run: Run, tmp_path: Path) -> Path:
    """The state of a controller that does not run, with web/1 in its store."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "serve").write_text("one")
    code, _, err = run(
        "artifact", "add", tmp_path / "web", "--name", "web", "--version", "1", "--state", tmp_path / "s"
    )
    assert code == 0, err
    return tmp_path / "s"


def test_a_key_has_a_line_for_the_topology(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "qa.pem"
    code, out, _ = run("artifact", "keygen", "qa", "--out", path)
    assert code == 0
    assert "signers:\n  qa: [ed25519:" in out
    assert "PRIVATE" not in out
    before = path.read_bytes()
    assert run("artifact", "keygen", "qa", "--out", path)[::2] == (
        2, f"cockpit: {path} exists and is left as it is; a key is never overwritten\n"
    )  # fmt: skip
    assert path.read_bytes() == before
    assert run("artifact", "keygen", "q/a", "--out", tmp_path / "x")[0] == 2
    assert not (tmp_path / "x").exists()
    assert "No such file" in run("artifact", "keygen", "qa", "--out", tmp_path / "none" / "x")[2]


def test_signing_without_a_controller(run: Run, tmp_path: Path, state: Path, key: tuple[Path, str]) -> None:
    file, public = key
    (tmp_path / "t.yaml").write_text(TOPOLOGY.replace("KEY", public))
    where = ("--state", state)
    code, out, err = run("artifact", "verify", "web/1", *where, "--topology", tmp_path / "t.yaml")
    assert code == 1
    assert "nobody has signed it" in out
    assert "missing: qa" in out
    code, out, err = run("artifact", "approve", "web/1", "--role", "qa", "--key", file, *where)
    assert code == 0, err
    assert f"is signed by qa, {public}" in out
    code, out, _ = run("artifact", "verify", "web/1", *where, "--topology", tmp_path / "t.yaml", "--json")
    answer = json.loads(out)
    assert code == 0
    assert [(s["role"], s["verdict"]) for s in answer["signatures"]] == [("qa", "valid")]
    # somebody else's key is no better than none
    run("artifact", "keygen", "qa", "--out", tmp_path / "other.pem")
    (tmp_path / "u.yaml").write_text(TOPOLOGY.replace("KEY", "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="))
    code, out, _ = run("artifact", "verify", "web/1", *where, "--topology", tmp_path / "u.yaml")
    assert code == 1
    assert "wrong key" in out
    assert "missing: qa" in out


def test_what_is_not_signed(run: Run, tmp_path: Path, state: Path, key: tuple[Path, str]) -> None:
    def approve(*words: object) -> tuple[int, str]:
        code, _, err = run("artifact", "approve", *words, "--state", state)
        return code, err

    file = key[0]
    assert approve("web/1", "--role", "qa", "--key", file, "--sha256", "ab" * 32) == (
        1, f"cockpit: web/1 is {sha256(run, state)}, not {'ab' * 32}: it is not signed\n"
    )  # fmt: skip
    assert "did you mean" in approve("web/2", "--role", "qa", "--key", file)[1]
    assert "NAME/VERSION" in approve("web", "--role", "qa", "--key", file)[1]
    assert "No such file" in approve("web/1", "--role", "qa", "--key", tmp_path / "none")[1]
    assert "not a private key" in approve("web/1", "--role", "qa", "--key", tmp_path / "web" / "serve")[1]
    assert approve("web/1", "--role", "../qa", "--key", file)[0] == 2
    assert "nobody has signed it" in run("artifact", "verify", "web/1", "--state", state)[1]
    file.chmod(0o644)
    code, err = approve("web/1", "--role", "qa", "--key", file)
    assert code == 0
    assert "has mode 0644" in err


def sha256(run: Run, state: Path) -> str:
    return str(json.loads(run("artifact", "list", "--json", "--state", state)[1])["web/1"]["sha256"])


def test_a_running_controller_takes_only_what_is_genuine(
    run: Run, live: Background, tmp_path: Path, key: tuple[Path, str]
) -> None:
    where = ("--state", live.state)
    (tmp_path / "geo").write_text("geo")
    assert run("artifact", "add", tmp_path / "geo", "--name", "geo", "--version", "1", *where)[0] == 0
    code, out, err = run("artifact", "approve", "geo/1", "--role", "qa", "--key", key[0], *where)
    assert code == 0, err
    assert "does not count there" in err  # the topology names no keys
    code, out, _ = run("artifact", "verify", "geo/1", *where)
    assert code == 1
    assert "nobody may sign as qa" in out
    kept = live.look(lambda: live.c.catalog.signatures("geo", "1"))
    assert [(s["role"], s["key"]) for s in kept] == [("qa", key[1])]
    forged = {**kept[0], "role": "build"}

    async def bring() -> str:
        from cockpit.session.client import RemoteSession

        session = RemoteSession(live.state / "control.sock")
        try:
            await session.call("artifact_sign", {"name": "geo", "version": "1", "signature": forged})
        except Exception as e:
            return str(e)
        finally:
            await session.close()
        return ""

    assert "does not fit geo/1" in live.do(bring())
