"""`cockpit log`: sentences, the chain, and what is wrong with a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cockpit.act.journal import Journal
from tests.cli.conftest import Run


@pytest.fixture
def saved(tmp_path: Path) -> Iterator[Path]:
    """A journal of three entries."""
    path = tmp_path / "journal.jsonl"
    journal = Journal.open(path)
    journal.append(
        {
            "kind": "intent", "action": "#1", "title": "deploy web 1.1.0", "author": "li@jump", "revision": 2,
            "cause": "",
        },
        now=1000.0,
    )  # fmt: skip
    journal.append({"kind": "outcome", "action": "#1", "outcome": "done", "reason": ""}, now=1010.0)
    journal.append({"kind": "ctl", "host": "a-1", "uid": 1000, "op": "stop", "unit": "shop.web/0:1"}, now=1020.0)
    journal.close()
    yield path


def head(path: Path) -> str:
    return str(json.loads(path.read_text().splitlines()[-1])["hash"])


def test_sentences(saved: Path, run: Run) -> None:
    code, out, err = run("log", saved)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == 3
    assert lines[0].endswith("intent   #1 deploy web 1.1.0  by li@jump  rev 2")
    assert lines[1].endswith("outcome  #1 done")
    assert lines[2].endswith("ctl      a-1: uid 1000 stop shop.web/0:1")
    code, out, _ = run("log", saved, "--json")
    assert [e["seq"] for e in json.loads(out)] == [1, 2, 3]

OTHERS: list[tuple[dict[str, Any], str]] = [
    ({"kind": "exec", "id": "exec-0123456789ab", "argv": ["df", "-h", "/a b"], "user": "ops", "timeout": 60.0,
      "author": "li@jump", "hosts": [f"h-{n}" for n in range(8)]},
     "exec     exec-012345 df -h '/a b' as ops  on h-0, h-1, h-2, h-3, h-4, h-5 and 2 more  by li@jump"),
    ({"kind": "exec-end", "id": "exec-0123456789ab", "stopped": True, "ok": 5,
      "others": {"h-1": "failed", "h-2": "no answer", "h-3": "failed"}, "open": ["h-4"]},
     "exec-end exec-012345 stopped: ok on 5, failed on h-1, h-3, no answer on h-2, ended unfinished on h-4"),
    ({"kind": "exec-end", "id": "exec-1", "stopped": False, "ok": 0, "others": {"h-1": "timed out"}, "open": []},
     "exec-end exec-1 timed out on h-1"),
    ({"kind": "shell", "id": "shell-0123456", "host": "h-1", "instance": "web/2", "author": "li",
      "argv": ["vi", "a b"]},
     "shell    shell-01234 vi 'a b'  on web/2 on h-1  by li"),
    ({"kind": "shell-end", "id": "shell-0123456", "host": "h-1", "instance": "", "author": "li", "code": None,
      "signal": 9, "why": "", "user": "root", "seconds": 61.2},
     "shell-end shell-01234 signal 9 after 61 s as root  on h-1  by li"),
    ({"kind": "build", "id": "build-0123456", "artifact": "web/1.2.0", "host": "b-1", "argv": ["make", "a b"],
      "inputs": "ab", "author": "li", "guard": "eyes", "request": "a1", "approved": "wu"},
     "build    build-01234 web/1.2.0 by make 'a b'  on b-1  by li  approved by wu (a1)"),
    ({"kind": "build-end", "id": "build-0123456", "artifact": "web/1.2.0", "host": "b-1", "stopped": False,
      "failed": "the build failed: exit 2"}, "build-end build-01234 web/1.2.0: the build failed: exit 2  on b-1"),
    ({"kind": "copy", "id": "copy-0123456", "host": "h-1", "instance": "web/2", "author": "li", "path": "a.log",
      "way": "from", "overwrite": False, "approved": "wu", "request": "a1"},
     "copy     copy-012345 from web/2:a.log  on h-1  by li  approved by wu (a1)"),
    ({"kind": "copy-end", "id": "copy-0123456", "host": "h-1", "instance": "", "author": "li", "path": "/etc/x",
      "way": "to", "why": "", "size": 12, "sha256": "ab" * 32, "user": "root", "seconds": 1.2},
     "copy-end copy-012345 done, 12 bytes, sha256 abababababab after 1 s as root  to h-1:/etc/x  on h-1  by li"),
    ({"kind": "plugin", "what": "push", "plugin": "backup/1.2.0", "sha256": "ab", "author": "li", "hosts": ["h-1"]},
     "plugin   push backup/1.2.0  on h-1  by li"),
    ({"kind": "schedule", "host": "h-1", "schedule": "tick", "planned": 1, "started": 1.0, "ended": 2.0, "code": 3,
      "signal": None, "why": "", "last": ["one", "no space left"]},
     "schedule h-1: tick exit 3: no space left"),
    ({"kind": "schedule", "host": "h-1", "schedule": "tick", "code": None, "signal": None, "why": "timeout",
      "last": []}, "schedule h-1: tick timeout"),
    ({"kind": "revoked", "what": "host", "name": "h-1", "uuid": "u-1", "by": "li", "at": 1.0, "why": "stolen"},
     "revoked  host h-1 (u-1)  by li  stolen"),
    ({"kind": "token", "what": "made", "id": "0a1b", "host": "", "author": "li"},
     "token    made for any host (0a1b)  by li"),
]  # fmt: skip


def test_sentences_of_what_is_no_action(tmp_path: Path, run: Run) -> None:
    journal = Journal.open(tmp_path / "j")
    journal.extend([body for body, _ in OTHERS], now=1000.0)
    journal.close()
    code, out, err = run("log", tmp_path / "j")
    assert (code, err) == (0, "")
    for line, (_, said) in zip(out.splitlines(), OTHERS, strict=True):
        assert line.endswith(f"  {said}")


def test_verify(saved: Path, run: Run) -> None:
    code, out, _ = run("log", saved, "--verify")
    assert (code, out) == (0, f"3 entries, chain whole, head {head(saved)}\n")
    assert run("log", saved, "--verify", "--head", head(saved))[0] == 0
    code, out, err = run("log", saved, "--verify", "--head", "0" * 64)
    assert (code, out) == (1, "") and "another hash" in err
    assert run("log", saved, "--head", "0" * 64)[0] == 1


def test_a_cleanly_cut_file_is_told_by_its_head(saved: Path, run: Run) -> None:
    whole = head(saved)
    saved.write_bytes(b"".join(saved.read_bytes().splitlines(keepends=True)[:2]))
    assert run("log", saved, "--verify")[0] == 0
    assert run("log", saved, "--verify", "--head", whole)[0] == 1


@pytest.mark.parametrize("how", ["altered", "cut out", "swapped", "put in", "garbage"])
@pytest.mark.parametrize("option", [[], ["--verify"]], ids=["read", "verify"])
def test_a_tampered_file(saved: Path, run: Run, how: str, option: list[str]) -> None:
    lines = saved.read_bytes().splitlines(keepends=True)
    changed = {
        "altered": [lines[0].replace(b"li@jump", b"me@jump"), *lines[1:]], "cut out": [lines[0], lines[2]],
        "swapped": [lines[1], lines[0], lines[2]], "put in": [lines[0], lines[0], *lines[1:]],
        "garbage": [lines[0], b"\xff\n", *lines[1:]],
    }  # fmt: skip
    saved.write_bytes(b"".join(changed[how]))
    code, out, err = run("log", saved, *option)
    assert (code, out) == (1, "")
    assert "journal.jsonl: entry " in err and "(line " in err
    assert run("replay", saved, "--state", saved.parent)[0] == 1


def test_a_torn_last_line_is_reported_and_skipped(saved: Path, run: Run) -> None:
    saved.write_bytes(saved.read_bytes()[:-30])
    code, out, err = run("log", saved)
    assert code == 0 and len(out.splitlines()) == 2
    assert "the last line is torn and was skipped" in err


def test_files_that_cannot_be_read(tmp_path: Path, run: Run) -> None:
    for words in ([tmp_path / "none.jsonl"], [tmp_path], ["--state", tmp_path / "none"]):
        code, out, err = run("log", *words)
        assert (code, out) == (2, "") and str(tmp_path) in err
        assert run("log", *words, "--verify")[0] == 2
    assert run("replay", tmp_path / "none.jsonl")[0] == 2


def test_an_empty_journal(tmp_path: Path, run: Run) -> None:
    (tmp_path / "j").write_bytes(b"")
    assert run("log", tmp_path / "j") == (0, "", "")
    assert run("log", tmp_path / "j", "--verify")[1] == "0 entries, chain whole, head none\n"
