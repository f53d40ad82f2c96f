"""Data artifacts end to end: a version reaches running programs, comes back, and a journal with it replays."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.e2e.cluster import Cluster, cluster

READER = """
import os, signal, sys
def say(*told):
    with open(os.environ["COCKPIT_DATA_WORDS"] + "/list") as f:
        words = f.read()
    print(words, flush=True)
    if told and words == "bad":
        sys.exit(3)
signal.signal(signal.SIGHUP, say)
say()
while True:
    signal.pause()
"""
TOPOLOGY = f"""
cockpit: 1
name: data
regions: {{sh: {{}}}}
hosts:
  sh-1: {{region: sh, address: 127.77.3.1, connection: local}}
  sh-2: {{region: sh, address: 127.77.3.2, connection: local}}
tree:
  p:
    children:
      web:
        command: [{sys.executable}, "@ROOT@/reader.py"]
        data: {{words: {{artifact: words, version: 4, on_change: signal}}}}
        instances: {{count: 2}}
        update: {{canary: 1}}
"""


def said(c: Cluster) -> dict[str, str]:
    """What the instances have printed, by instance."""
    found: dict[str, str] = {}
    for path in sorted(c.hosts.glob("*/logs/p.web_*/*.main.out")):
        instance = path.parent.name.rpartition("_")[0]
        found[instance] = found.get(instance, "") + path.read_text()
    return found


def link(c: Cluster, slot: int) -> Path:
    return next(c.hosts.glob(f"*/instances/p.web_{slot}/data/words"))


def test_a_version_of_data_goes_out_comes_back_and_replays() -> None:
    with cluster(TOPOLOGY, start=False) as c:
        (c.root / "reader.py").write_text(READER)
        for version, words in (("4", "v4"), ("5", "v5"), ("6", "bad")):
            (c.root / version).mkdir()
            (c.root / version / "list").write_text(words)
            c.cli("artifact", "add", version, "--name", "words", "--version", version, "--kind", "data")
        c.start()
        c.wait(lambda: len(c.instances()) == 2 and c.calm(), 60, "two instances run")
        c.wait(lambda: said(c) == {"p.web_0": "v4\n", "p.web_1": "v4\n"})
        pids = c.pids()

        c.cli("deploy", "web", "5", "--data", "words")
        c.wait(lambda: said(c) == {"p.web_0": "v4\nv5\n", "p.web_1": "v4\nv5\n"})
        assert c.pids() == pids, "nothing was restarted"

        refused = c.run("deploy", "web", "7", "--data", "words")
        assert refused.returncode == 2 and "did you mean words/6 or words/5" in refused.stderr
        c.cli("deploy", "web", "6", "--data", "words", code=None)
        id = c.newest("deploy")
        c.wait(lambda: c.action(id)["state"] == "returned", 60, "the bad data has gone back")
        assert "did not live on with words/6: exit 3" in c.action(id)["note"]
        c.wait_calm()
        assert c.pids()["p.web/0"] == pids["p.web/0"], "only the canary had it"
        assert said(c)["p.web_0"] == "v4\nv5\n"

        c.cli("rollback", "web")
        c.wait(lambda: said(c)["p.web_0"] == "v4\nv5\nv4\n", 30, "the deploy of 5 is undone")
        assert "every outcome as recorded" in c.cli("replay", "--twin", str(c.state / "journal.jsonl"))

        odd = link(c, 0)
        target = odd.readlink()
        assert target.name == "4"
        odd.unlink()
        odd.symlink_to("../../../releases/words/5")
        c.wait(lambda: [d["kind"] for d in c.status()["drift"]] == ["wrong data"], 30, "the link is noticed")
        c.cli("converge")
        assert link(c, 0).readlink() == target
        c.wait_calm()
