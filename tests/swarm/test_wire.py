"""Frames: what goes in comes out however it is cut, and nothing else comes out."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.swarm import wire

u32 = st.integers(0, 2**32 - 1)
numbers = st.integers(0, 9999)
slices = st.binary(min_size=1, max_size=300)
messages = st.one_of(
    st.builds(wire.Hello, st.text(max_size=64), st.text(max_size=40), st.sampled_from(wire.ROLES), numbers),
    st.builds(wire.Bits, st.integers(0, 2**300)),
    st.builds(wire.Have, st.lists(u32, max_size=20).map(tuple)),
    st.builds(wire.Request, u32),
    st.builds(wire.Any, u32),
    st.builds(wire.Cancel, u32),
    st.builds(wire.Refuse, u32),
    st.builds(lambda p, e, o, s: wire.Data(p, e, o + len(s), o, s), u32, st.integers(0, 255), numbers, slices),
    st.builds(wire.Words, st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=4)),
    st.builds(lambda i, o, s: wire.Blob(i, o + len(s) + 3, o, s), u32, numbers, slices),
)


@given(st.lists(messages, max_size=12), st.lists(st.integers(1, 400), min_size=1))
def test_any_cut_of_the_bytes_gives_the_messages(sent: list[wire.Message], cuts: list[int]) -> None:
    data = b"".join(map(wire.encode, sent))
    decoder, came, at, turn = wire.Decoder(), [], 0, 0
    while at < len(data):
        size = cuts[turn % len(cuts)]
        came += decoder.feed(data[at : at + size])
        at, turn = at + size, turn + 1
    assert came == sent


def test_headers_stand_before_payloads_that_are_not_copied() -> None:
    payload = bytes(range(100))
    assert wire.data_header(7, 1, 500, 200, 100) + payload == wire.encode(wire.Data(7, 1, 500, 200, payload))
    assert wire.blob_header(7, 500, 200, 100) + payload == wire.encode(wire.Blob(7, 500, 200, payload))
    data = wire.encode(wire.Data(7, 1, 500, 200, payload))
    (message,) = wire.Decoder().feed(data)
    assert isinstance(message, wire.Data) and isinstance(message.payload, memoryview)
    assert message.payload.obj is data


def frame(kind: int, body: bytes) -> bytes:
    return struct.pack(">IB", len(body) + 1, kind) + body


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (struct.pack(">I", 0), "frame of 0 bytes"),
        (struct.pack(">I", wire.LIMIT + 1), "at most"),
        (b"GET / HTTP/1.1\r\n", "at most"),
        (frame(0, b""), "unknown type 0"),
        (frame(99, b""), "unknown type 99"),
        (frame(4, b"123"), "number of 3 bytes"),
        (frame(3, b"123"), "list of pieces"),
        (frame(2, bytes(wire.PIECES // 8 + 1)), "bit mask"),
        (frame(9, b"[]"), "no JSON object"),
        (frame(9, b"{"), "no JSON"),
        (frame(9, b"\xff\xfe"), "no JSON"),
        (frame(9, b"[" * 100_000), "no JSON"),
        (frame(9, b" " * (wire.WORDS + 1)), "words of"),
        (frame(1, b"{}"), "without proper swarm"),
        (frame(1, b'{"swarm":"","name":"","role":"king","pieces":1,"protocol":1}'), "role 'king'"),
        (frame(1, b'{"swarm":"","name":"","role":"peer","pieces":true,"protocol":1}'), "proper pieces"),
        (frame(1, b'{"swarm":"","name":"","role":"peer","pieces":-1,"protocol":1}'), "proper pieces"),
        (frame(8, b"short"), "too short"),
        (wire.data_header(1, 0, 10, 8, 3) + b"abc", "slice of 3 bytes at 8 of 10"),
        (wire.data_header(1, 0, 10, 0, 0), "slice of 0 bytes"),
        (wire.data_header(1, 0, wire.PIECE + 1, 0, 1) + b"a", "slice of"),
        (wire.data_header(1, 0, wire.PIECE, 0, wire.SLICE + 1) + bytes(wire.SLICE + 1), "slice of"),
        (frame(10, b"short"), "too short"),
        (wire.blob_header(1, 10, 8, 3) + b"abc", "slice of 3 bytes"),
        (wire.blob_header(1, wire.BLOB + 1, 0, 1) + b"a", "blob of"),
        (wire.blob_header(1, 10, 0, 0), "empty slice"),
    ],
)
def test_what_is_no_frame_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(wire.WireError, match=why):
        wire.Decoder().feed(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_messages_or_a_wire_error(data: bytes) -> None:
    try:
        wire.Decoder().feed(data)
    except wire.WireError:
        pass


@pytest.mark.parametrize(
    "message",
    [
        wire.Data(1, 0, wire.PIECE, 0, bytes(wire.SLICE + 1)),
        wire.Words({"a": "x" * wire.WORDS}),
        wire.Have(tuple(range(300_000))),
    ],
)
def test_what_does_not_fit_is_not_sent(message: wire.Message) -> None:
    with pytest.raises(wire.WireError):
        wire.encode(message)
