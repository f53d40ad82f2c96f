"""Polling: numbers, sessions and their owners; lost answers; connections that do not stay."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from cockpit.link import listen_polling, polling
from cockpit.link.channel import Channel, ChannelClosed
from cockpit.link.listen import Who
from cockpit.link.polling import MAX_COUNT, Numbers
from tests.helpers import until
from tests.link.wires import House, box, echo, house


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as made:
        yield made


# numbers


@given(st.lists(st.sampled_from(["a puts", "b puts", "poll", "lost", "no answer", "b reads", "late"]), max_size=120))
def test_whatever_is_lost_or_repeated_each_frame_comes_once_and_in_order(steps: list[str]) -> None:
    a, b = Numbers(), Numbers()
    put: dict[str, list[str]] = {"a": [], "b": []}
    got: dict[str, list[str]] = {"a": [], "b": []}
    old: list[tuple[int, int, list[str]]] = []

    def read() -> None:
        for name, end in (("a", a), ("b", b)):
            while end.inbox:
                got[name].append(end.get())

    for step in [*steps, "poll", "poll", "poll"]:
        if step in ("a puts", "b puts"):
            name = step[0]
            put[name].append(f"{name}{len(put[name])}")
            (a if name == "a" else b).put(put[name][-1])
        elif step == "b reads":
            read()
        elif step == "late" and old:
            b.take(*old[len(put["a"]) % len(old)])  # an old question comes out of a buffer
        elif step in ("poll", "lost", "no answer"):
            question = (a.received, a.first, a.batch())
            old.append(question)
            if step != "lost":
                b.take(*question)
                if step == "poll":
                    a.take(b.received, b.first, b.batch())
    read()
    assert got == {"b": put["a"], "a": put["b"]}
    assert not a.out or a.first > 0


def test_numbers_that_cannot_be_are_refused() -> None:
    one = Numbers()
    one.put("x")
    for ack, first, frames in ((2, 1, []), (0, 2, ["gap"]), (0, 0, ["x"]), (10**30, 1, []), (0, -5, ["x"])):
        with pytest.raises(ValueError):
            one.take(ack, first, list(frames))
    assert one.take(-(10**30), 1, []) is False  # very late
    assert (one.received, list(one.out)) == (0, ["x"])


def test_what_finds_no_room_is_left_for_later() -> None:
    one = Numbers()
    one.take(0, 1, ["x"] * (MAX_COUNT + 5))
    assert one.received == MAX_COUNT
    for _ in range(3):
        one.get()
    one.take(0, 1, ["x"] * (MAX_COUNT + 5))
    assert one.received == MAX_COUNT + 3


# over HTTP


async def post(made: House, name: str, doc: Any, http: aiohttp.ClientSession, **options: Any) -> tuple[int, Any]:
    data = doc if isinstance(doc, bytes) else json.dumps(doc).encode()
    url = f"https://127.0.0.1:{made.port}/poll"
    async with http.post(url, data=data, ssl=made.context(name), **options) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if answer.status == 200 else text


def poll(session: str = "", ack: int = 0, first: int = 1, *frames: str) -> dict[str, Any]:
    return {"session": session, "ack": ack, "first": first, "frames": list(frames)}


async def test_a_session_belongs_to_who_opened_it(made: House) -> None:
    async with aiohttp.ClientSession() as http:
        status, answer = await post(made, "h-1", poll(), http)
        assert status == 200
        session = answer["session"]
        assert (await post(made, "h-2", poll(session, 0, 1, "mine"), http))[0] == 410
        assert (await post(made, "h-1", poll(session, 0, 1, "mine"), http))[1]["ack"] == 1
        assert (await post(made, "h-1", poll(session, 0, 1, "mine"), http))[1]["ack"] == 1  # once more is not twice
        channel, who = made.channels[0]
        assert (who.name, await channel.recv()) == ("h-1", "mine")
        assert len(made.channels) == 1


async def test_who_has_no_certificate_has_no_session(made: House) -> None:
    async with aiohttp.ClientSession() as http:
        url = f"https://127.0.0.1:{made.port}/poll"
        async with http.post(url, json=poll(), ssl=made.context(certificate=False)) as answer:
            assert answer.status == 403
    assert not made.channels


async def test_ten_thousand_polls_with_foreign_sessions_leave_nothing_behind(
    made: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen_polling, "SESSION_TIME", 3600.0)  # they may take longer than a session that rests
    async with aiohttp.ClientSession() as http:
        _, answer = await post(made, "h-1", poll(), http)
        context = made.context("h-2")
        statuses: set[bytes] = set()

        async def some(worker: int) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", made.port, ssl=context)
            for n in range(1250):
                body = json.dumps(poll(f"{worker}-{n}", 0, 1, "x")).encode()
                writer.write(b"POST /poll HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                head = await reader.readuntil(b"\r\n\r\n")
                statuses.add(head.split()[1])
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split()[0]))
            writer.transport.abort()

        await asyncio.gather(*(some(n) for n in range(8)))
        assert statuses == {b"410"}
        assert len(made.channels) == 1 and len(made.listener._polls._sessions) == 1
        assert (await post(made, "h-1", poll(answer["session"], 0, 1, "still"), http))[1]["ack"] == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"\xff", b"{}", b'{"session":"","ack":"1","first":1,"frames":[]}',
     b'{"session":"","ack":0,"first":1,"frames":[7]}',
     b'{"session":"","ack":5,"first":1,"frames":[]}', b'{"session":"","ack":0,"first":9,"frames":["x"]}'],
    ids=str,
)
async def test_what_is_no_poll_is_refused_and_leaves_nothing(body: bytes, made: House) -> None:
    async with aiohttp.ClientSession() as http:
        assert (await post(made, "h-1", body, http))[0] == 400
        assert made.listener._polls._sessions == {}


async def test_large_and_packed_bodies_are_refused(made: House) -> None:
    async with aiohttp.ClientSession() as http:
        assert (await post(made, "h-1", b"x" * (polling.MAX_BODY + 1), http))[0] == 413
        assert (await post(made, "h-1", b"x", http, headers={"Content-Encoding": "br"}))[0] in (400, 415)

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 65536

        url = f"https://127.0.0.1:{made.port}/poll"
        with pytest.raises(aiohttp.ClientError):
            async with http.post(url, data=endless(), ssl=made.context()) as answer:
                answer.raise_for_status()
    assert not made.channels


async def test_too_many_sessions_of_one_host_end_the_oldest(made: House) -> None:
    async with aiohttp.ClientSession() as http:
        first = (await post(made, "h-1", poll(), http))[1]["session"]
        rest = [(await post(made, "h-1", poll(), http))[1]["session"] for _ in range(4)]
        assert (await post(made, "h-1", poll(first), http))[0] == 410
        for session in rest:
            assert (await post(made, "h-1", poll(session), http))[0] == 200


async def test_a_session_that_nobody_polls_ends(made: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cockpit.link.listen_polling.SESSION_TIME", 0.3)
    async with aiohttp.ClientSession() as http:
        session = (await post(made, "h-1", poll(), http))[1]["session"]
        with pytest.raises(ChannelClosed, match="no poll for"):
            await made.channels[0][0].recv()
        assert (await post(made, "h-1", poll(session), http))[0] == 410


@pytest.mark.parametrize("how", ["close", "rst"])
async def test_connections_that_end_after_each_answer(how: str, tmp_path: Path) -> None:
    """As a middlebox does it: one answer, and the connection is gone, politely or not."""

    async def short(request: web.Request, response: web.StreamResponse) -> None:
        if how == "close":
            response.force_close()
        elif request.transport is not None:
            asyncio.get_running_loop().call_later(0.02, request.transport.abort)

    made = House(tmp_path)
    made.serve = echo
    made.app.on_response_prepare.append(short)
    await made.start()
    async with box(made.port, lambda hello: ("pass", 0)) as between:
        channel = await made.dial("polling", port=between.port)
        for n in range(5):
            await channel.send(f"frame {n}")
            assert await channel.recv() == f"frame {n}"
        assert between.taken >= 5
        channel.abort()
    await made.stop()


async def test_one_connection_is_used_while_it_stays(tmp_path: Path) -> None:
    async with house(tmp_path, echo) as made, box(made.port, lambda hello: ("pass", 0)) as between:
        channel = await made.dial("polling", port=between.port)
        for n in range(5):
            await channel.send(f"frame {n}")
            assert await channel.recv() == f"frame {n}"
        assert between.taken == 1
        channel.abort()


async def test_lost_answers_are_asked_for_again(tmp_path: Path) -> None:
    """Every connection is reset somewhere, often within an answer: nothing is lost, nothing comes twice."""
    taken = 0

    def rule(hello: bytes) -> tuple[str, int]:
        nonlocal taken
        taken += 1
        return "rst", 2600 + taken * 37 % 900

    got: list[str] = []

    async def serve(channel: Channel, who: Who) -> None:
        for n in range(200):
            await channel.send(f"down {n} " + "y" * 50)
        try:
            while True:
                got.append(str(await channel.recv()))
        except ChannelClosed:
            pass

    async with house(tmp_path, serve) as made:
        async with box(made.port, rule) as between:
            while True:
                try:
                    channel = await made.dial("polling", port=between.port)
                    break
                except OSError:
                    continue
            polled = made.channels[-1][0]
            down = asyncio.create_task(_read(channel, 3))
            for n in range(20):
                await channel.send(f"up {n}")
            await until(lambda: len(got) == 20)
            between.rule = lambda hello: ("pass", 0)
            assert await down == [f"down {n} " + "y" * 50 for n in range(200)][:3]
            rest = await _read(channel, 197)
            assert rest[-1].startswith("down 199 ")
            assert got == [f"up {n}" for n in range(20)]
            assert made.channels[-1][0] is polled
            channel.abort()


async def _read(channel: Channel, count: int) -> list[str]:
    return [str(await channel.recv()) for _ in range(count)]


async def test_when_nothing_answers_any_more_the_channel_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "TRY_TIME", 0.2)
    monkeypatch.setattr(polling, "STALE_TIME", 0.2)
    monkeypatch.setattr(polling, "PATIENCE", 0.5)
    async with house(tmp_path) as made, box(made.port, lambda hello: ("pass", 0)) as between:
        channel = await made.dial("polling", port=between.port)
        await between.stop()
        with pytest.raises(ChannelClosed, match="no answer to a poll"):
            await channel.recv()
        with pytest.raises(ChannelClosed):
            await channel.send("x")
