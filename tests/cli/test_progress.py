"""Pushes as text: on a terminal, in a log, and when they are over."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from cockpit.cli import progress
from cockpit.cli.main import main
from cockpit.cli.progress import Progress, clip, ending, picture, sentence, table_text
from cockpit.cli.show import plan_text, status_object
from cockpit.cli.verbs import follow
from cockpit.model.view import ActionDetail, ActionRow, Delta, Head, PushRow, Snapshot
from cockpit.plan.steps import FETCH, Intent, Plan, Step
from tests.helpers import until

NOW = 1000.0
HEAD = Head(cluster="c", revision=1, digest="d", now=NOW)


def row(host: str, **more: Any) -> PushRow:
    values: dict[str, Any] = {
        "action": "#7", "artifact": "web/2", "host": host, "region": host[:2], "state": "running", "phase": "pieces",
        "pieces": 64, "have": 48, "had": 32, "cells": "#" * 16 + "." * 16 + "=" * 32, "size": 8 << 20,
        "to_move": 4 << 20, "moved": 2 << 20, "rate": 1024.0 * 1024, "eta": 2.0, "started": NOW - 60,
        "from_peers": 1 << 20, "from_relay": 1 << 20,
    }  # fmt: skip
    return PushRow(**(values | more))


def rows(count: int = 2) -> list[PushRow]:
    return [row(f"sh-{n}") for n in range(count)]


# the picture


def test_few_receivers_have_a_line_each() -> None:
    bad = row("bj-1", state="failed", note="no space:\x1b[2J 44 MiB are needed", rate=0.0, eta=None)
    found = picture("#7", [*rows(), bad], NOW, 100, 20)
    assert found == [
        "push web/2 (#7): 8.0 MiB, 4.0 MiB new in 32 pieces",
        "  source 0.00x, WAN 0.00x, peers 50%, 0 bad",
        "  bj-1 [########........========]  50%  failed: no space: [2J 44 MiB are needed",
        "  sh-0 [########........========]  50%   1.0 MiB/s     2s  receives",
        "  sh-1 [########........========]  50%   1.0 MiB/s     2s  receives",
    ]


def test_many_receivers_are_a_line_per_region_and_the_worst_are_named() -> None:
    many = rows(500) + [row(f"bj-{n}", rate=1.0, eta=900.0) for n in range(5)]
    many += [row("bj-x", state="unknown", note="no answer for 9s")]
    found = picture("#7", many, NOW, 100, 20)
    assert len(found) == 2 + 2 + 3
    assert found[2].startswith("  bj [") and found[2].endswith("15m00s  6 hosts: 1 no answer, 5 slow")
    assert "500.0 MiB/s" in found[3] and found[3].endswith("500 hosts: 500 at work")
    assert found[4:6] == ["  bj-x no answer for 9s", "  bj-0 slow: 0% of the usual pace"]


@pytest.mark.parametrize("width", [20, 40, 79, 200])
@pytest.mark.parametrize("height", [2, 5, 24])
@pytest.mark.parametrize("count", [1, 5, 13, 200])
def test_a_picture_keeps_its_bounds(width: int, height: int, count: int) -> None:
    each_its_region = [msgspec.structs.replace(r, region=f"r{n}") for n, r in enumerate(rows(count))]
    for shown in (rows(count), each_its_region, [row("汉-1", note="磁盘已满" * 30, state="failed"), *rows(count)]):
        found = picture("#7", shown, NOW, width, height)
        assert 0 < len(found) <= height
        assert all(len(clip(line, width)) == len(line) for line in found)


def test_clip_counts_wide_characters_twice() -> None:
    assert [clip("磁盘已满", n) for n in (8, 7, 2, 1)] == ["磁盘已满", "磁盘已", "磁", ""]


def test_the_whole_table_has_every_receiver() -> None:
    assert len(table_text("#7", rows(300), NOW, 1000)) == 302


def test_one_line_for_a_log_and_one_for_the_end() -> None:
    slow = [*rows(3), row("sh-9", rate=1.0, eta=700.0)]
    assert sentence("#7", slow, NOW) == (
        "push web/2 (#7): 50% of 16.0 MiB, 3.0 MiB/s, ETA 11m40s; 1 slow, 3 at work; sh-9 slow: 0% of the usual pace"
    )
    done = [row(f"sh-{n}", state="done", have=64, moved=4 << 20) for n in range(2)]
    assert ending("#7", [*done, row("sh-r", relay=True, state="done")], NOW).endswith(
        "0 bad; 8.0 MiB moved; 2 of 2 hosts have it"
    )
    assert ending("#7", [done[0], row("sh-8", state="failed")], NOW).endswith("1 of 2 hosts has it, 1 failed")


# on the way


def test_on_a_terminal_the_picture_is_drawn_over_and_sentences_stay_above(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    out = io.StringIO()
    shown = Progress("#7", out, terminal=True)
    shown.say("begun")
    shown.change({"#7|sh-0": row("sh-0"), "#8|sh-0": row("sh-0", action="#8")}, NOW)
    shown.draw()
    shown.change({"#7|sh-0": row("sh-0", have=64)}, NOW)
    shown.say("sh-0 has it")
    first, second, *rest = re.split(r"\x1b\[3A\r\x1b\[J", out.getvalue())
    assert rest == []
    assert first.splitlines()[0] == "begun" and first.splitlines()[3].startswith("  sh-0 [") and " 50%" in first
    assert second.splitlines()[0] == "sh-0 has it" and "100%" in second
    assert "#8" not in out.getvalue()


def test_a_terminal_that_is_small_is_not_scrolled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "6")
    out = io.StringIO()
    shown = Progress("#7", out, terminal=True)
    shown.change({r.host: r for r in rows(9)}, NOW)
    shown.draw()
    lines = out.getvalue().splitlines()
    assert 2 < len(lines) <= 4 and max(len(line) for line in lines) < 40


def test_without_a_terminal_lines_are_appended() -> None:
    out = io.StringIO()
    shown = Progress("#7", out)
    shown.change({r.host: r for r in rows()}, NOW)
    shown.draw()
    shown.say("a sentence")
    assert out.getvalue() == "push web/2 (#7): 50% of 8.0 MiB, 2.0 MiB/s, ETA 2s; 2 at work\na sentence\n"


async def test_it_draws_only_when_something_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "APPEND", 0.005)
    out = io.StringIO()
    async with Progress("#7", out) as shown:
        shown.change({"#7|sh-0": row("sh-0")}, NOW)
        await until(lambda: "50%" in out.getvalue())
        for _ in range(5):
            await asyncio.sleep(0.006)
        assert len(out.getvalue().splitlines()) == 1
        shown.change({"#7|sh-0": row("sh-0", have=56)}, NOW)
        await until(lambda: "75%" in out.getvalue())
        shown.change({"#7|sh-0": None}, NOW)
        assert shown.rows == {}
    assert "moved" not in out.getvalue()  # the last row went: there is no push to sum up


async def test_quiet_says_nothing() -> None:
    out = io.StringIO()
    async with Progress("#7", out, quiet=True) as shown:
        shown.change({"#7|sh-0": row("sh-0")}, NOW)
        shown.say("a sentence")
    assert out.getvalue() == ""


class Session:
    """An action that moves an artifact and ends."""

    def __init__(self) -> None:
        self.row = ActionRow(id="#7", verb="push", state="running", author="li", title="push web/2", started=NOW)
        self.log = ["push web/2 by li"]

    async def snapshot(self) -> Snapshot:
        return Snapshot(head=HEAD, pushes={"#7|sh-0": row("sh-0")})

    async def action(self, id: str) -> ActionDetail:
        return ActionDetail(row=self.row, log=tuple(self.log))

    async def changes(self) -> AsyncIterator[Delta]:
        yield Delta(head=HEAD, pushes={"#7|sh-0": row("sh-0", state="done", have=64, moved=4 << 20)})
        self.row = msgspec.structs.replace(self.row, state="done", ended=NOW + 4)
        self.log.append("web/2 is on sh-0")
        yield Delta(head=HEAD, actions={"#7": self.row})
        raise AssertionError("it ended")


async def test_a_followed_push_is_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    detail = await follow(Session(), "#7", quiet=False)
    assert detail.row.state == "done"
    assert capsys.readouterr().out.splitlines() == [
        "push web/2 by li",
        "web/2 is on sh-0",
        "push web/2 (#7): 8.0 MiB, 4.0 MiB new in 32 pieces; source 0.00x, WAN 0.00x, peers 50%, 0 bad; "
        "4.0 MiB moved; 1 of 1 host has it",
        "#7 push web/2: done in 4.0 s",
    ]


def test_a_plan_says_what_it_moves_where_it_knows() -> None:
    steps = tuple(
        Step(id=f"s{n}", kind=FETCH, host=f"sh-{n}", args={"name": "web", "version": "2", "to_move": 1 << 20})
        for n in range(3)
    )
    plan = Plan(intent=Intent(verb="push"), base=1, steps=steps, title="push web/2")
    assert "  Moves 3.0 MiB in 3 pushes." in plan_text(plan).splitlines()
    assert "Moves" not in plan_text(msgspec.structs.replace(plan, steps=()))


# cockpit pushes


class Looking:
    """A session of which only the snapshot is asked."""

    def __init__(self, pushes: dict[str, PushRow]) -> None:
        self.pushes = pushes
        self.open = 0

    async def connect(self) -> None:
        self.open += 1

    async def snapshot(self) -> Snapshot:
        return Snapshot(head=HEAD, pushes=self.pushes)

    async def close(self) -> None:
        self.open -= 1


def pushes(monkeypatch: pytest.MonkeyPatch, given: dict[str, PushRow], *words: str) -> int:
    session = Looking(given)
    monkeypatch.setattr("cockpit.cli.show.connect", lambda args: session)
    code = main(["pushes", *words])
    assert session.open == 0
    return code


TWO = {"#7|sh-0": row("sh-0"), "#5|sh-1": row("sh-1", action="#5", artifact="db/1", started=1.0)}


def test_pushes_are_listed_the_oldest_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pushes(monkeypatch, TWO) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("push ")] == ["db/1", "web/2"]
    assert lines[-1].split() == ["#", "has", "=", "had", "before", "+", "partly", ".", "missing"]
    assert pushes(monkeypatch, {}) == 0
    assert capsys.readouterr().out == "nothing is pushed, and nothing was lately\n"


def test_one_push_as_json_and_one_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pushes(monkeypatch, TWO, "5", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [(r["action"], r["host"], r["have"]) for r in found] == [("#5", "sh-1", 48)]
    assert pushes(monkeypatch, TWO, "#9") == 2
    assert "no push belongs to #9; known: #5, #7" in capsys.readouterr().err


def test_status_tells_of_pushes() -> None:
    found = status_object(Snapshot(head=HEAD, pushes=TWO))["pushes"]
    seen = [(r["action"], r["state"], r["to_move"]) for r in found]
    assert seen == [("#5", "running", 4 << 20), ("#7", "running", 4 << 20)]
