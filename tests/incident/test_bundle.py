"""A bundle with secrets planted in every source; its bounds, its order, its list; the command on a controller."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import stat
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cockpit.cli.main import main
from cockpit.incident import pack as packing
from cockpit.incident.collect import Collected, Piece, Wish, collect
from cockpit.incident.pack import listing, pack
from cockpit.model.view import ActionDetail, Change, LogLine, RevisionRow
from cockpit.plan.steps import Bad, Refused
from tests.controller.fakes import Background, background
from tests.screens.canned import NOW, CannedSession, snapshot

SECRET = [f"pl4nted-Secret-{n:02}-value" for n in range(16)]


class Planted(CannedSession):
    """Every source says a secret in its own way."""

    def __init__(self) -> None:
        first = snapshot()
        row = first.instances["puzzle.sudoku/3"]
        first.instances[row.id] = msgspec.structs.replace(row, reason=f"exec: login --password {SECRET[0]} failed")
        super().__init__(msgspec.structs.replace(first, notices=(f"store https://u:{SECRET[1]}@bucket/x",)))
        self.answers = {
            "export": {"name": "puzzle-prod", "services": {"puzzle.web": {
                "env": {"DB_PASSWORD": SECRET[2], "MODE": "fast"}, "secrets": {"KEY": {"file": f"/run/{SECRET[3]}"}},
                "processes": {"main": ["serve", f"--token={SECRET[4]}", "--port", "1"]}}}},
            "about": {"cockpit": "0.1.0", "limits": {"nofile": [1024, 4096]}},
            "explain": {"kind": "cluster", "name": "", "now": NOW, "calm": f"Authorization: Bearer {SECRET[5]}"},
            "alerts": {"targets": [{"webhook": f"https://hook/?token={SECRET[6]}", "headers": {"X": SECRET[7]}}]},
            "journal": {"lines": [{"seq": 1, "time": NOW - 5, "kind": "exec",
                                   "text": f"exec PGPASSWORD={SECRET[8]} psql"}],
                        "start": 0, "end": 9, "count": 1, "whole": True, "said": "1 entries, chain whole"},
            "between": {"start": NOW - 9, "end": NOW, "rows": [{"table": "instances", "key": "k", "name": "web/0",
                        "how": "changed", "before": f"api_key={SECRET[9]}", "after": "x"}]},
            "moments": {"start": NOW - 9, "end": NOW, "resolution": 1.0},
            "metrics": {"kind": "host", "name": "x", "facts": {"kernel": "6.1", "cmdline": f"secret={SECRET[10]}"}},
        }  # fmt: skip

    async def action(self, id: str) -> ActionDetail:
        row = self.data.actions[id]
        return ActionDetail(row=row, log=(f"23:59 started with client_secret: {SECRET[11]}",), undo=f"x {SECRET[2]}")

    async def revisions(self, limit: int = 50) -> Sequence[RevisionRow]:
        path = ("services", "puzzle.web", "env", "API_TOKEN")
        change = Change(path=path, old=SECRET[12], new={"file": "x", "password": SECRET[13]})
        return [RevisionRow(number=42, mark="m", author="li", time=NOW - 48, action="#118", changes=(change,))]

    async def logs(self, instances: Sequence[str], **options: Any) -> AsyncIterator[LogLine]:
        for text in (
            "listens", f"connected as app with {SECRET[2]}", "-----BEGIN PRIVATE KEY-----", SECRET[14],
            "-----END PRIVATE KEY-----", f"redis://:{SECRET[15]}@10.0.0.1", "jo@example.com asked",
        ):  # fmt: skip
            yield LogLine(instance=instances[0], run=3, stream="stdout", text=text, time=NOW)


async def collected(session: Any, **wish: Any) -> Collected:
    return await collect(session, Wish(**{"since": NOW - 3600, **wish}), lambda f: [f.calm])


def contents(raw: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:gz") as tar:
        return {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]


async def test_planted_secrets_are_in_no_file() -> None:
    found = await collected(Planted())
    assert found.left_out == []
    before = b"".join(msgspec.json.encode([p.data, p.rows, p.lines]) for p in found.pieces)
    assert all(s.encode() in before for s in SECRET), "each was told by some source"
    raw, manifest = pack(found, NOW - 3600)
    everything = gzip.decompress(raw)
    assert [s for s in SECRET if s.encode() in everything] == [] and b"jo@example.com" not in everything
    files = contents(raw)
    assert json.loads(files["topology.json"])["services"]["puzzle.web"]["env"]["MODE"] == "fast"
    assert b"listens" in files["logs/puzzle.sudoku-3.log"]
    assert sum(manifest.redacted.values()) >= len(SECRET) and "URL" in manifest.redacted


async def test_the_same_data_is_the_same_bytes_and_the_list_checks_them(tmp_path: Path) -> None:
    one, manifest = pack(await collected(Planted()), NOW)
    other, _ = pack(await collected(Planted()), NOW)
    assert one == other
    names = list(contents(one))
    assert names[0] == "MANIFEST.json" and names[1:] == sorted(names[1:]) == [e.name for e in manifest.files]
    path = tmp_path / "b.tar.gz"
    path.write_bytes(one)
    assert listing(path) == (manifest, [])
    for forged, said in ((b"x", "not as it was written"), (b"", "not as it was written")):
        files = contents(one) | {"explain.txt": forged}
        path.write_bytes(packing._tar(list(files.items()), int(NOW)))
        assert said in listing(path)[1][0]
    path.write_bytes(packing._tar([*contents(one).items(), ("../evil\x1b[2J", b"x")], int(NOW)))
    assert "\x1b" not in listing(path)[1][0] and "does not name it" in listing(path)[1][0]
    for broken in (b"", one[:200], b"no tar", gzip.compress(b"no tar")):
        path.write_bytes(broken)
        with pytest.raises(Bad, match="no incident bundle"):
            listing(path)


async def test_what_does_not_answer_is_left_out_with_its_reason() -> None:
    session = Planted()
    del session.answers["export"], session.answers["moments"]

    def refuse(args: Any) -> Any:
        raise Refused("alerts is refused: not for you")

    session.answers["alerts"] = refuse
    found = await collected(session)
    told = dict(found.left_out)
    assert told["alerts and silences"] == "alerts is refused: not for you" and "the topology" in told
    assert {"explain.json", "journal.jsonl", "state/instances.jsonl"} <= {p.name for p in found.pieces}
    _, manifest = pack(found, NOW)
    assert len(manifest.left_out) == 3


async def test_hosts_and_services_choose_the_logs() -> None:
    async def logs(**wish: Any) -> list[str]:
        return sorted(p.name for p in (await collected(Planted(), **wish)).pieces if p.name.startswith("logs/"))

    assert await logs(services=("puzzle.web",)) == ["logs/puzzle.web-0.log", "logs/puzzle.web-1.log"]
    assert await logs(services=("puzzle.web/1",)) == ["logs/puzzle.web-1.log"]
    assert "logs/puzzle.batch-0.log" in await logs(hosts=("sh-1",))
    assert "logs/puzzle.sudoku-3.log" in await logs() and "logs/puzzle.web-0.log" not in await logs()
    assert await logs(lines=0) == []


def test_what_is_too_long_is_cut_at_a_line_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MOST_FILE", 1000)
    monkeypatch.setattr(packing, "MOST", 2500)
    found = Collected(cluster="c", now=NOW, pieces=[
        Piece("a.jsonl", "rows", rows=[{"n": n} for n in range(500)]),
        Piece("b.log", "lines", lines=[f"line {n}" for n in range(500)], tail=True),
        Piece("c.json", "data", data={"x": "y" * 3000}),
    ])  # fmt: skip
    raw, manifest = pack(found, NOW)
    files = contents(raw)
    assert files["a.jsonl"].startswith(b'{"n":0}\n') and files["b.log"].endswith(b"line 499\n")
    assert all(len(files[n]) <= 1000 for n in ("a.jsonl", "b.log")) and "c.json" not in files
    assert ["of 500 lines" in e.cut for e in manifest.files] == [True, True]
    assert manifest.left_out[0].what == "c.json" and "bytes" in manifest.left_out[0].why


@pytest.fixture(scope="module")
def live() -> Iterator[Background]:
    path = Path(tempfile.mkdtemp(prefix="ck-"))
    try:
        with background(path) as engine:
            engine.connect("a-1", "b-1")
            yield engine
    finally:
        shutil.rmtree(path, ignore_errors=True)


def test_the_command_with_what_a_viewer_may_see(
    live: Background, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COCKPIT_PLANTED_PASSWORD", SECRET[0])
    path = tmp_path / "x.tar.gz"
    assert main(["bundle", "--state", str(live.state), "-o", str(path), "--service", "web"]) == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    files = contents(path.read_bytes())
    about = json.loads(files["versions.json"])["controller"]
    assert about["python"] and about["limits"]["nofile"] and "msgspec" in about["packages"]
    assert SECRET[0].encode() not in gzip.decompress(path.read_bytes())
    assert {"topology.json", "journal.jsonl", "explain.txt", "state/hosts.jsonl"} <= files.keys()
    capsys.readouterr()
    assert main(["bundle", "--list", str(path)]) == 0
    out = capsys.readouterr().out
    assert "chain whole" in out and "topology.json" in out and "still rev 1" in out
    wrong = ((["--service", "wep"], "did you mean"), (["--host", "a-2"], "a-1"), (["--since", "soon"], "no moment"))
    for words, said in wrong:
        assert main(["bundle", "--state", str(live.state), "-o", str(path), *words]) == 2
        assert said in capsys.readouterr().err, words


def test_without_a_controller_there_is_still_the_journal(
    live: Background, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "s"
    state.mkdir()
    shutil.copy(live.state / "journal.jsonl", state)
    (state / "controller.log").write_text(f"up\npassword={SECRET[0]}\n")
    path = tmp_path / "x.tar.gz"
    assert main(["bundle", "--state", str(state), "-o", str(path)]) == 4
    files = contents(path.read_bytes())
    assert b"apply" in files["journal.jsonl"] and files["controller.log"].startswith(b"up\n")
    assert SECRET[0].encode() not in files["controller.log"]
    assert "the bundle holds what lies in" in capsys.readouterr().err
