"""From a recipe to a signed version that runs: build on a host, refused unsigned, approved, deployed."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import COCKPIT, Cluster, cluster
from tests.helpers import PATIENCE, alive, wait_for

TOPOLOGY = """\
cockpit: 1
name: works
regions: {sh: }
hosts:
  b-1: {region: sh, address: 127.0.31.1, connection: local}
  b-2: {region: sh, address: 127.0.31.2, connection: local}
signers: {build: ["@BUILD@"], qa: ["@QA@"]}
tree:
  shop:
    children:
      web:
        artifact: web
        version: "0"
        signatures: [build, qa]
        command: [sh, "{release}/run"]
        instances: {hosts: [b-2]}
        update: {healthy_for: 100ms}
"""

RECIPE = """\
argv: [sh, make.sh]
inputs: [make.sh, src]
outputs: [out]
host: b-1
timeout: 30s
env: {WORD: hello}
"""


def keygen(root: Path, role: str) -> str:
    words = [*COCKPIT, "artifact", "keygen", role, "--out", str(root / f"{role}.pem"), "--json"]
    return str(json.loads(subprocess.check_output(words))["key"])


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    keys = tmp_path_factory.mktemp("keys")
    text = TOPOLOGY.replace("@BUILD@", keygen(keys, "build")).replace("@QA@", keygen(keys, "qa"))
    with cluster(text) as c:
        for role in ("build", "qa"):
            (keys / f"{role}.pem").rename(c.root / f"{role}.pem")
        (c.root / "src").mkdir()
        (c.root / "src" / "run").write_text("exec sleep 600\n")
        (c.root / "recipe.yaml").write_text(RECIPE)
        c.wait(c.up, 60, "both hosts are up")
        yield c


def make(c: Cluster, script: str) -> None:
    (c.root / "make.sh").write_text(script)


def build(c: Cluster, version: str, code: int) -> subprocess.CompletedProcess[str]:
    done = c.run("artifact", "build", "recipe.yaml", "--name", "web", "--version", version)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done


def test_from_recipe_to_running(works: Cluster) -> None:
    make(works, "echo $WORD; echo careful >&2; mkdir out; cp src/run out/")
    done = build(works, "1", 0)
    assert done.stdout.startswith("hello\n")
    assert done.stdout.splitlines()[-1].startswith("web/1  sha256 ")
    assert "built on b-1 in " in done.stdout
    assert done.stderr == "careful\n"
    shown = json.loads(works.cli("artifact", "show", "web/1", "--json"))
    assert shown["build"]["argv"] == ["sh", "make.sh"]
    assert shown["build"]["host"] == "b-1"

    refused = works.run("deploy", "web", "1")
    assert refused.returncode == 3, refused
    assert "web/1 is not signed by build and qa, as shop.web demands" in refused.stderr
    works.cli("artifact", "approve", "web/1", "--role", "build", "--key", "build.pem")
    refused = works.run("deploy", "web", "1")
    assert "web/1 is not signed by qa, as shop.web demands" in refused.stderr
    assert works.run("artifact", "verify", "web/1").returncode == 1
    works.cli("artifact", "approve", "web/1", "--role", "qa", "--key", "qa.pem")
    works.cli("artifact", "verify", "web/1")
    works.cli("deploy", "web", "1")
    works.wait(lambda: works.instances()["shop.web/0"]["state"] == "RUNNING", 30, "web runs")
    assert works.instances()["shop.web/0"]["version_actual"] == "1"


def test_a_host_has_the_last_word(works: Cluster) -> None:
    """What the controller takes is refused by a host whose own administrator wants more."""
    make(works, "mkdir out; cp src/run out/; echo 2 > out/two")
    build(works, "2", 0)
    for role in ("build", "qa"):
        works.cli("artifact", "approve", "web/2", "--role", role, "--key", f"{role}.pem")
    list_ = works.host("b-2") / "signers.json"
    key = keygen(works.root, "ops")
    list_.write_text(json.dumps({"require": ["ops"], "signers": {"ops": [key]}}))
    done = works.run("push", "web/2", "--hosts", "b-2")
    assert done.returncode == 1, done
    assert "ops has not signed it" in done.stdout + done.stderr
    assert not (works.host("b-2") / "releases" / "web" / "2").exists()
    list_.unlink()
    works.cli("push", "web/2", "--hosts", "b-2")
    assert (works.host("b-2") / "releases" / "web" / "2" / "two").read_text() == "2\n"


def test_a_build_that_fails(works: Cluster) -> None:
    make(works, "echo no such thing >&2; exit 7")
    done = build(works, "3", 1)
    assert done.stderr == "no such thing\ncockpit: the build failed: exit 7\n"
    make(works, "true")
    assert "made no 'out'" in build(works, "3", 1).stderr
    assert "web/3" not in works.cli("artifact", "list")


def test_the_same_version_twice(works: Cluster) -> None:
    make(works, "mkdir out; echo a > out/a")
    build(works, "4", 0)
    build(works, "4", 0)
    make(works, "mkdir out; echo b > out/a")
    assert "exists with other content" in build(works, "4", 1).stderr


def test_what_cannot_be_built(works: Cluster) -> None:
    done = works.run("artifact", "build", "recipe.yaml", "--name", "web", "--version", "5", "--host", "b-11")
    assert done.returncode == 2, done
    assert "unknown build host" in done.stderr
    (works.root / "bad.yaml").write_text("argv: [true]\noutputs: [out]\ninputs: [none/*]\n")
    done = works.run("artifact", "build", "bad.yaml", "--name", "web", "--version", "5")
    assert done.returncode == 2, done
    assert "bad.yaml:3:10: " in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_build_ends_with_its_command(works: Cluster, number: int) -> None:
    make(works, "(setsid sleep 600 & echo pid $!); echo pid $$; echo ready; sleep 600")
    words = ["artifact", "build", "recipe.yaml", "--name", "web", "--version", "6", "--state", str(works.state)]
    with subprocess.Popen([*COCKPIT, *words], cwd=works.root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = []
        for line in process.stdout:
            if line == "ready\n":
                break
            pids.append(int(line.split()[1]))
        assert len(pids) == 2
        assert all(alive(pid) for pid in pids)
        process.send_signal(number)
        process.wait(PATIENCE)
    wait_for(lambda: not any(alive(pid) for pid in pids))
    wait_for(lambda: not list((works.host("b-1") / "builds").iterdir()))
