"""Views without a terminal: every place, every format, what is said when something is wrong."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import stat
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Awaitable, Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cockpit.cli.main import main
from cockpit.plan.steps import Bad
from cockpit.session.client import RemoteSession
from screens.places import PLACES
from screens.snapshot import NO_VIEWS, Taken, take
from tests.controller.fakes import Background, background
from tests.screens import pushed
from tests.screens.canned import CannedSession, snapshot

VIEWS = [p for p in PLACES if p not in NO_VIEWS]
NEEDS = {"node": "web/0", "host": "{host}", "action": "#1", "revision": "1", "compare": "1", "then": "web/0 1",
         "artifact": "web/1.0.0", "between": "-1h", "logs": "web/0"}  # fmt: skip


def view(name: str, host: str) -> str:
    return f"{name} {NEEDS.get(name, '').format(host=host)}".strip()


def shown(view: str, session: Any = None, **options: Any) -> Taken:
    return asyncio.run(take(session or CannedSession(), view, **{"wait": 60.0, **options}))


async def walked(one: Callable[[str], Awaitable[Taken]]) -> dict[str, Taken]:
    """Every place, a few at a time: most of the time of each is waiting."""
    few = asyncio.Semaphore(4)

    async def next_one(name: str) -> Taken:
        async with few:
            return await one(name)

    return dict(zip(VIEWS, await asyncio.gather(*(next_one(name) for name in VIEWS)), strict=True))


@pytest.fixture(scope="module")
def live() -> Iterator[Background]:
    path = Path(tempfile.mkdtemp(prefix="ck-"))
    try:
        with background(path) as engine:
            engine.connect("a-1", "b-1")
            yield engine
    finally:
        shutil.rmtree(path, ignore_errors=True)


def test_every_place_as_text_from_the_view_socket(live: Background) -> None:
    async def walk() -> dict[str, Taken]:
        session = RemoteSession(live.state / "view.sock")
        await session.connect()
        try:
            return await walked(lambda name: take(session, view(name, "a-1"), wait=100.0))
        finally:
            await session.close()

    for name, taken in asyncio.run(walk()).items():
        first, second, *rest = taken.text.splitlines()
        assert first.startswith("cockpit: still, ") and "read-only" in second and rest, (name, taken)
        assert not taken.wanting, (name, taken.wanting)
        assert not re.search(r"[─-▟●◐▲✖◌‖▼]|\x1b", taken.text), name


def test_every_place_as_data() -> None:
    def one(name: str) -> Awaitable[Taken]:
        words = view(name, "sh-1").replace("#1", "#118").replace("web/1.0.0", "sudoku/1.2.0")
        return take(CannedSession(), words, format="json", wait=100.0)

    for name, taken in asyncio.run(walked(one)).items():
        data = json.loads(taken.text)
        assert data["cluster"] == "puzzle-prod" and data["revision"] == 42 and data["view"].split()[0] == name
        assert data["lists"], name


def test_text_is_complete_and_states_are_words() -> None:
    first = pushed.crowd(300)
    text = shown("instances", CannedSession(first)).text
    assert f"{len(first.instances)} rows" in text
    lines = text.splitlines()
    assert sum(line.startswith("[") for line in lines) == len(first.instances)
    assert all(re.match(r"\[(ok|drift|changing|failed|unknown|absent|paused|draining)\] ", x)
               for x in lines if re.match(r"\[", x))  # fmt: skip
    one = next(x for x in shown("overview").text.splitlines() if "sudoku/3:" in x)
    want = r"\[drift\] sudoku/3: host bj-2, port 20013, age \d+s, version 1.2.0, state unhealthy"
    assert re.fullmatch(want, one.strip())


def test_a_filter_is_part_of_the_view() -> None:
    taken = shown("instances sudoku drift")
    assert "INSTANCE: 1 row, filter drift" in taken.text and taken.address == "instances sudoku drift"
    rows = json.loads(shown("instances sudoku drift", format="json").text)["lists"][0]
    assert [r["row"]["id"] for r in rows["rows"]] == ["puzzle.sudoku/3"] and rows["total"] == 4
    assert rows["rows"][0]["row"]["restarts"] == 3  # a number, not a text


def test_what_a_service_says_moves_no_cursor() -> None:
    first = snapshot()
    row = msgspec.structs.replace(first.instances["puzzle.sudoku/3"], reason="\x1b[2Jgone\r\n\x07")
    first.instances[row.id] = row
    for format in ("text", "svg", "html"):
        assert "\x1b" not in shown("instances", CannedSession(first), format=format).text


class Read(HTMLParser):
    """The text of a page, and everything it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.said, self.fetched = "", []  # type: ignore[var-annotated]
        self.feed(text)

    def handle_data(self, data: str) -> None:
        self.said += data

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.fetched += [v for k, v in attrs if k in ("src", "href")]
        assert tag not in ("script", "link", "img", "iframe")


def test_pictures_need_nothing_else_and_their_text_can_be_read() -> None:
    made = shown("overview", format="svg", size=(80, 24)).text
    tree = ET.fromstring(made)
    space = {"s": "http://www.w3.org/2000/svg"}
    assert tree.get("role") == "img" and tree.get("aria-labelledby") == "title desc"
    assert tree.findtext("s:title", namespaces=space) == "cockpit: puzzle-prod, overview"
    assert "▲ sudoku/3" in (tree.findtext("s:desc", namespaces=space) or "")
    words = "".join("".join(t.itertext()) for t in tree.iter("{http://www.w3.org/2000/svg}text"))
    assert "puzzle-prod" in words and "unhealthy" in words
    assert "@font-face" not in made and set(re.findall(r"https?://[^\s\"')]+", made)) <= {
        "http://www.w3.org/2000/svg", "https://textual.textualize.io/"}  # fmt: skip
    page = Read(shown("overview", format="html", size=(120, 40)).text)
    assert "NEEDS YOU" in page.said and "unhealthy" in page.said and page.fetched == []
    plain = shown("overview", format="html", theme="mono", ascii=True).text
    assert "! sudoku/3" in Read(plain).said and not re.search(r"[─-▟●◐▲✖◌‖▼]", plain)


@pytest.mark.parametrize(("words", "said"), [
    ("instancs", "did you mean instances"), ("restart web", "is a verb, not a view"), ("quit", "is no view"),
    ("past", "--at"), ("node", "needs a name"), ("instances restarts>", "restarts"),
    ("relays one two 'three", "clos"),
])  # fmt: skip
def test_what_cannot_be_shown_is_said(words: str, said: str) -> None:
    with pytest.raises(Bad, match=re.escape(said)):
        shown(words)


def test_data_that_does_not_come_is_said_in_time() -> None:
    class Silent(CannedSession):
        async def instance(self, id: str) -> Any:
            await asyncio.Event().wait()

    taken = shown("node web/0", Silent(), wait=1.0)
    assert "instance" in taken.wanting and taken.text.startswith("cockpit: puzzle-prod")
    broken = CannedSession()
    broken.broken = ConnectionError("nobody there")
    with pytest.raises(ConnectionError, match="nobody there"):
        shown("overview", broken, wait=1.0)


def test_the_command(live: Background, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "web.svg"
    assert main(["snapshot", "instances", "web", "--state", str(live.state), "-o", str(target)]) == 0
    assert ET.fromstring(target.read_text()).tag.endswith("svg") and stat.S_IMODE(target.stat().st_mode) == 0o600
    assert main(["snapshot", "hosts", "--at", "-0s", "--state", str(live.state)]) == 0
    assert "THE PAST" in capsys.readouterr().out
    for words, code, said in (
        (["nodes"], 2, "did you mean node"), (["overview", "--size", "9x9"], 2, "for example 120x40"),
        (["overview", "--at", "noon"], 2, "is no moment"), (["overview", "--theme", "pink"], 2, "pink"),
        (["overview", "-o", str(tmp_path / "no" / "x.svg")], 2, "nothing was written"),
    ):  # fmt: skip
        assert main(["snapshot", *words, "--state", str(live.state)]) == code, words
        assert said in capsys.readouterr().err, words
    assert main(["snapshot", "overview", "--state", str(tmp_path)]) == 4
