"""Advice of a real controller: what it looks at, whom it answers, and the command."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from cockpit.cli.main import main
from cockpit.controller.advising import named
from cockpit.model.advice_rows import RISK, advice
from cockpit.model.view import Who
from cockpit.plan.steps import Bad
from cockpit.session.ops import OBSERVING
from tests.controller.fakes import engine

LI = Who(author="li@jump", role="operator")


async def test_what_a_cluster_risks_and_for_one_name_only(tmp_path: Path) -> None:
    async with engine(tmp_path) as c:
        found = {(r.rule, r.name): r for r in await advice(c.session(LI))}
        alone = found["alone", "shop.db"]
        assert alone.weight == RISK and "web cannot do without it" in alone.text
        assert {("no-check", "shop.web"), ("no-guards", ""), ("nobody-told", "")} <= found.keys()
        assert not any(name == "batch" for _, name in found)
        assert {r.name for r in await advice(c.session(LI), "db")} == {"shop.db"}
        assert {r.name for r in await advice(c.session(LI), "shop")} == {"shop.db", "shop.web"}
        with pytest.raises(Bad, match="did you mean"):
            await advice(c.session(LI), "shp.web")
        assert named(c, "sh") == "sh" and named(c, "a-1") == "a-1" and "advice" in OBSERVING


async def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with engine(tmp_path) as c:
        state = str(c.state)
        assert await asyncio.to_thread(main, ["advice", "--state", state]) == 1
        told = capsys.readouterr().out
        assert "risk    shop.db: one instance, on a-1, and web cannot do without it" in told
        assert "alone; would help: scale it to 2" in told and told.rstrip().endswith("more")
        assert await asyncio.to_thread(main, ["advice", "db", "--risks", "--json", "--state", state]) == 1
        rows = json.loads(capsys.readouterr().out)
        assert {r["weight"] for r in rows} == {RISK} and {r["name"] for r in rows} == {"shop.db"}
        assert await asyncio.to_thread(main, ["advice", "a-1", "--state", state]) == 0
        assert capsys.readouterr().out == "no rule found anything\n"
