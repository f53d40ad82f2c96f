"""`cockpit web` on a real controller: who gets in, what they get, and what is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from tests.controller.fakes import Background, background
from tests.helpers import PATIENCE, alive, free_port, until, wait_for
from tests.web import chromium


class Place(NamedTuple):
    at: str
    port: int
    link: Path
    log: Path
    process: subprocess.Popen[bytes]
    engine: Background

    def token(self) -> str:
        return wait_for(lambda: self.link.exists() and self.link.read_text().strip()).partition("token=")[2]

    def children(self) -> list[int]:
        out = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, check=False)
        return [int(p) for p in out.stdout.split()]


@contextlib.contextmanager
def serving(engine: Background, root: Path, *options: str) -> Iterator[Place]:
    port, link, log = free_port(), root / "link", root / "log"
    argv = [sys.executable, "-m", "cockpit.cli.main", "web", "--state", str(engine.state), "--link-file", str(link),
            "--listen", f"127.0.0.1:{port}", *options]  # fmt: skip
    with log.open("wb") as out, subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out
    ) as process:
        try:
            yield Place(f"http://127.0.0.1:{port}", port, link, log, process, engine)
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ck-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def place(root: Path) -> Iterator[Place]:
    with background(root) as engine:
        engine.connect("a-1", "b-1")
        with serving(engine, root, "--sessions", "1") as made:
            made.token()
            yield made


async def status(http: aiohttp.ClientSession, url: str, **headers: str) -> int:
    async with http.get(url, headers=headers, allow_redirects=False) as answer:
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"
        return answer.status


async def entered(place: Place) -> tuple[str, str]:
    """The cookie of a login as a header's value, and the token that was used."""
    token = place.token()
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{place.at}/?token={token}", allow_redirects=False) as answer:
            assert answer.status == 303 and answer.headers["Location"] == "/"
            cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    return cookie.partition(";")[0], token


async def test_nothing_without_a_token(place: Place) -> None:
    async with aiohttp.ClientSession() as http:
        for path in ("/", "/app.js", "/app.css", "/ws", "/nothing", "/?token=wrong"):
            assert await status(http, place.at + path) == 403
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await http.ws_connect(f"{place.at}/ws", origin=place.at)
    assert place.children() == []


async def test_a_link_works_once_and_is_private(place: Place) -> None:
    assert stat.S_IMODE(place.link.stat().st_mode) == 0o600
    cookie, used = await entered(place)
    assert place.token() != used
    async with aiohttp.ClientSession() as http:
        assert await status(http, f"{place.at}/?token={used}") == 403
        assert await status(http, place.at + "/", Cookie=cookie) == 200
    assert used not in place.log.read_text() and cookie.partition("=")[2] not in place.log.read_text()


async def test_other_names_and_other_pages_are_refused(place: Place) -> None:
    cookie, _ = await entered(place)
    async with aiohttp.ClientSession() as http:
        assert await status(http, place.at + "/", Cookie=cookie, Host="evil.example") == 421
        assert await status(http, place.at + "/", Cookie=cookie, Host=f"127.0.0.1.evil:{place.port}") == 421
        for origin in ("http://evil.example", "null", "", f"http://127.0.0.1:{place.port + 1}"):
            headers = {"Cookie": cookie} | ({"Origin": origin} if origin else {})
            with pytest.raises(aiohttp.WSServerHandshakeError) as error:
                await http.ws_connect(f"{place.at}/ws", headers=headers)
            assert error.value.status == 403
    assert place.children() == []


async def screen(place: Place, http: aiohttp.ClientSession, cookie: str) -> aiohttp.ClientWebSocketResponse:
    return await http.ws_connect(f"{place.at}/ws?width=100&height=30", headers={"Cookie": cookie, "Origin": place.at})


async def shows(socket: aiohttp.ClientWebSocketResponse, words: bytes) -> bytes:
    seen = b""
    async with asyncio.timeout(30):
        while words not in seen:
            seen += await socket.receive_bytes()
    return seen


async def test_a_screen_is_a_process_that_ends_with_its_connection_and_knows_no_token(place: Place) -> None:
    cookie, used = await entered(place)
    async with aiohttp.ClientSession() as http:
        socket = await screen(place, http, cookie)
        await shows(socket, b"still")
        (pid,) = place.children()
        mine = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
        for secret in (used, place.token(), cookie.partition("=")[2]):
            assert secret.encode() not in mine
        second = await screen(place, http, cookie)  # one is allowed
        message = await second.receive(timeout=PATIENCE)
        assert message.type is aiohttp.WSMsgType.CLOSE and "no more are allowed" in str(message.extra)
        await socket.close()
        await until(lambda: not alive(pid), what="the screen's process ends")
    assert place.children() == []


async def test_what_a_browser_may_only_look_at_cannot_be_changed(place: Place) -> None:
    cookie, _ = await entered(place)
    async with aiohttp.ClientSession() as http:
        socket = await screen(place, http, cookie)
        await shows(socket, b"read-only")
        await socket.send_json(["stdin", ":restart web\r"])
        await shows(socket, b"only look")
        huge = '["resize", {"width": 9999999, "height": -3}]'
        for odd in ('["stdin", 1]', "[]", "{", '["resize", {"width": "x"}]', huge):
            await socket.send_str(odd)
        await socket.send_json(["stdin", "\x1b"])
        await socket.send_json(["stdin", ":hosts\r"])
        await shows(socket, b"HOSTS")
        await socket.close()
    await until(lambda: not place.children())


async def test_a_flood_of_wrong_links_is_slowed_down_and_keeps_nobody_out_who_is_in(place: Place) -> None:
    cookie, _ = await entered(place)
    async with aiohttp.ClientSession() as http:
        found = [await status(http, f"{place.at}/?token=wrong{n}") for n in range(20)]
        assert found[-1] == 429 and 403 in found
        assert await status(http, place.at + "/", Cookie=cookie) == 200


def test_the_end_of_the_server_is_the_end_of_its_screens(root: Path, place: Place) -> None:
    work = root / "other"
    work.mkdir()

    async def look(other: Place) -> int:
        cookie, _ = await entered(other)
        async with aiohttp.ClientSession() as http:
            socket = await screen(other, http, cookie)
            await shows(socket, b"still")
            (pid,) = other.children()
            other.process.kill()  # not even asked
            await until(lambda: not alive(pid), what="the screen ends with a server that was killed")
        return pid

    with serving(place.engine, work) as other:
        asyncio.run(look(other))


async def test_control_is_asked_for_and_said(root: Path, place: Place) -> None:
    work = root / "control"
    work.mkdir()
    with serving(place.engine, work, "--control") as other:
        cookie, _ = await entered(other)
        async with aiohttp.ClientSession() as http:
            socket = await screen(other, http, cookie)
            await shows(socket, b"operator")
            await socket.send_json(["stdin", ":restart web\r"])
            await shows(socket, b"PLAN")
            await socket.close()
        assert "can change the cluster as you" in other.log.read_text()
    assert not other.link.exists()


async def test_a_screen_that_cannot_start_says_why(root: Path, place: Place) -> None:
    work = root / "pink"
    work.mkdir()
    with serving(place.engine, work, "--theme", "pink") as other:
        cookie, _ = await entered(other)
        async with aiohttp.ClientSession() as http:
            socket = await screen(other, http, cookie)
            message = await socket.receive(timeout=PATIENCE)
            assert message.type is aiohttp.WSMsgType.CLOSE and "no theme 'pink'" in str(message.extra)
        assert other.children() == []


@pytest.mark.skipif(not chromium.FOUND, reason="no Chromium here: apt-get install chromium")
async def test_in_a_real_browser(place: Place, tmp_path: Path) -> None:
    async with chromium.browser(tmp_path) as page:
        await page.open(f"{place.at}/")
        await page.sees("Open the link that cockpit web printed")
        await page.open(f"{place.at}/?token={place.token()}")
        await page.sees("NEEDS YOU")
        await page.sees("read-only")
        assert await page.js("location.href") == f"{place.at}/"
        assert await page.js("document.cookie") == ""
        await page.press("h")
        await page.sees("HOSTS")
        await page.press("/")
        for each in "b-1":
            await page.press(each)
        await page.sees("/b-1")
        await page.press("Enter", 13)
        await page.press("Escape", 27)
        assert [u for u in page.requests if not u.startswith((place.at, f"ws://127.0.0.1:{place.port}"))] == []
        assert not [c for c in page.console if "Content Security" in c], page.console
    await until(lambda: not place.children(), what="the screen ends with its page")


def test_words_on_the_command_line(run_web: Any) -> None:
    for words, said in (
        (["--listen", "0.0.0.0:1"], "can be reached by others"), (["--listen", "here"], "is no ADDRESS:PORT"),
        (["--listen", "127.0.0.1:0"], "a log is no place for a link"), (["--sessions", "0"], "from 1 to 64"),
    ):  # fmt: skip
        code, err = run_web(*words)
        assert code == 2 and said in err, (words, err)


@pytest.fixture
def run_web(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    from cockpit.cli.main import main

    def once(*words: str) -> tuple[int, str]:
        code = main(["web", "--state", str(tmp_path), *words])
        return code, capsys.readouterr().err

    assert os.environ.get("COCKPIT_WEB") is None
    return once
