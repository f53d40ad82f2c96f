"""The journal: what was written is read, what was not is found out."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit.act import journal
from cockpit.act.journal import START, Journal, Tampered, read, verify
from cockpit.model.states import State
from cockpit.plan.steps import Intent, Plan
from tests.act.hand import step, unit


def write(path: Path, n: int) -> Journal:
    log = Journal.open(path)
    for i in range(n):
        log.append({"kind": "intent", "action": f"#{i + 1}", "text": "数独"}, now=1000.0 + i)
    log.close()
    return log


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def test_entries_come_back_as_a_chain(path: Path) -> None:
    log = write(path, 3)
    entries, torn = read(path)
    assert torn is None
    assert [(e.seq, e.time, e.kind, e.body["action"]) for e in entries] == [
        (1, 1000.0, "intent", "#1"), (2, 1001.0, "intent", "#2"), (3, 1002.0, "intent", "#3"),
    ]  # fmt: skip
    assert [e.prev for e in entries] == [START, entries[0].hash, entries[1].hash]
    assert (log.head, log.count) == (entries[-1].hash, 3)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"kind" not in json.loads(path.read_bytes().splitlines()[0])["body"]


def test_it_goes_on_after_it_was_opened_again(path: Path) -> None:
    log = write(path, 2)
    again = Journal.open(path, head=log.head, count=log.count)
    again.extend([{"kind": "a"}, {"kind": "b"}], now=5.0)
    again.close()
    assert [e.seq for e in verify(path, head=again.head, count=4)[0]] == [1, 2, 3, 4]
    ahead = Journal.open(path, head=log.head, count=log.count)
    assert ahead.count == 4, "the file may be ahead of what the store knew"
    ahead.close()


def test_a_torn_last_line_is_reported_skipped_and_cut_off(path: Path) -> None:
    write(path, 3)
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    entries, torn = read(path)
    assert len(entries) == 2 and torn is not None and torn.startswith('{"body"')
    log = Journal.open(path)
    assert log.torn == torn
    log.append({"kind": "intent", "action": "#9"}, now=9.0)
    log.close()
    assert [e.body["action"] for e in read(path)[0]] == ["#1", "#2", "#9"]


def test_only_the_last_newline_missing_loses_nothing(path: Path) -> None:
    write(path, 2)
    path.write_bytes(path.read_bytes()[:-1])
    log = Journal.open(path)
    assert (log.count, log.torn) == (2, None)
    log.append({"kind": "x"}, now=1.0)
    log.close()
    assert len(read(path)[0]) == 3


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def _alter(lines: list[bytes]) -> None:
    lines[1] = lines[1].replace(b'"#2"', b'"#7"')


def _alter_last(lines: list[bytes]) -> None:
    lines[3] = lines[3].replace(b'"#4"', b'"#7"')


def _cut(lines: list[bytes]) -> None:
    del lines[1]


def _cut_first(lines: list[bytes]) -> None:
    del lines[0]


def _swap(lines: list[bytes]) -> None:
    lines[1], lines[2] = lines[2], lines[1]


def _twice(lines: list[bytes]) -> None:
    lines.insert(2, lines[1])


def _junk(lines: list[bytes]) -> None:
    lines.insert(1, b"hello\n")


def _space(lines: list[bytes]) -> None:
    lines[1] = lines[1].replace(b'"body":', b'"body": ')


def _forge(lines: list[bytes]) -> None:
    """Somebody who knows the format makes the altered entry's hash right again."""
    doc = json.loads(lines[1])
    doc["body"]["action"] = "#7"
    entry = journal.seal(journal.Entry(**{**doc, "hash": ""}))
    lines[1] = journal.encode(entry)


@pytest.mark.parametrize(("change", "where"), [
    (_alter, (2, 2)), (_alter_last, (4, 4)), (_cut, (2, 2)), (_cut_first, (1, 1)), (_swap, (2, 2)),
    (_twice, (3, 3)), (_junk, (2, 2)), (_space, (2, 2)), (_forge, (3, 3)),
])  # fmt: skip
def test_what_was_changed_is_refused_with_its_place(path: Path, change: Any, where: tuple[int, int]) -> None:
    write(path, 4)
    every = lines(path)
    change(every)
    path.write_bytes(b"".join(every))
    with pytest.raises(Tampered) as caught:
        read(path)
    assert (caught.value.seq, caught.value.line) == where
    assert f"entry {where[0]} (line {where[1]})" in str(caught.value)
    with pytest.raises(Tampered):
        Journal.open(path)


def test_a_printed_list_is_no_journal_and_where_one_is_is_said(path: Path) -> None:
    path.write_text("[\n  {}\n]\n")
    with pytest.raises(Tampered, match="a journal is the journal.jsonl of a state directory"):
        read(path)


def test_a_clean_cut_is_found_by_head_or_count(path: Path) -> None:
    log = write(path, 4)
    path.write_bytes(b"".join(lines(path)[:-1]))
    assert len(read(path)[0]) == 3, "alone it cannot be seen"
    with pytest.raises(Tampered, match="4 entries were written, 3 are left"):
        verify(path, head=log.head, count=4)
    with pytest.raises(Tampered, match="another hash"):
        verify(path, head=log.head)
    path.unlink()
    with pytest.raises(Tampered, match="gone"):
        Journal.open(path, head=log.head, count=4)


def test_another_history_of_the_same_length_is_found(path: Path) -> None:
    log = write(path, 2)
    path.unlink()
    other = Journal.open(path)
    other.extend([{"kind": "x"}, {"kind": "y"}], now=1.0)
    other.close()
    with pytest.raises(Tampered, match="another hash"):
        verify(path, head=log.head, count=2)


def test_another_version_is_refused(path: Path) -> None:
    entry = journal.seal(journal.Entry(v=2, seq=1, time=0.0, kind="x", body={}, prev=START))
    path.write_bytes(journal.encode(entry))
    with pytest.raises(Tampered, match="version 2"):
        read(path)


def test_a_failed_write_leaves_no_half_entry(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Journal.open(path)
    log.append({"kind": "a"}, now=1.0)

    def no(fd: int) -> None:
        raise OSError("no space")

    with monkeypatch.context() as m:
        m.setattr("os.fdatasync", no)
        with pytest.raises(OSError, match="no space"):
            log.append({"kind": "b"}, now=2.0)
    log.append({"kind": "c"}, now=3.0)
    log.close()
    assert [(e.seq, e.kind) for e in read(path)[0]] == [(1, "a"), (2, "c")]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(bodies=st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=3), max_size=4), cut=st.integers(0, 200))
def test_any_body_survives_and_any_cut_of_the_end_reads(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[dict[str, Any]], cut: int
) -> None:
    path = tmp_path_factory.mktemp("j") / "journal"
    log = Journal.open(path)
    log.extend([{**b, "kind": "x"} for b in bodies], now=0.5)
    log.close()
    entries, torn = read(path)
    assert torn is None and [e.body for e in entries] == [{k: v for k, v in b.items() if k != "kind"} for b in bodies]
    data = path.read_bytes()
    path.write_bytes(data[: max(0, len(data) - cut)])
    kept, torn = read(path)
    assert kept == entries[: len(kept)]


def test_bodies_say_what_decided() -> None:
    s = step("s3", "healthy", "a.web/0:2")
    seen = unit("a.web/0:2", State.RUNNING, health="ok", version="2")
    gate = journal.gate("#7", s, "done", "", seen)
    assert gate["observed"]["state"] == "RUNNING" and gate["observed"]["health"] == "ok"
    assert journal.gate("#7", s, "failed", "late")["observed"] is None
    intent = Intent(verb="deploy", targets=("a.web",), params={"version": "2"}, author="li")
    plan = Plan(intent=intent, base=3, digest="d", title="deploy web 2", steps=(step("s1", "prepare", "a.web/0:2"),))
    body = journal.intent("#7", intent, plan, revision=4, uid=1000)
    assert body["placement"] == {"a.web/0": "h1"} and body["plan"] == "d" and body["revision"] == 4
    control = journal.control("#7", "pause", "s3", "li", at=s)
    assert (control["kind"], control["what"], control["instance"]) == ("pause", "healthy", "a.web/0")
