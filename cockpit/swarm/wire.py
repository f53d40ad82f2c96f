"""The swarm's frames: what two nodes say to each other, as bytes. Pure: no sockets, no clock.

A frame is `u32 length` (of what follows, at most 1 MiB + 64), `u8 type`, body; numbers are big-endian.
A piece travels as many Data frames of at most 32 KiB, so that control messages slip in between.
"""

from __future__ import annotations

import json
import struct
from typing import Any as Anything
from typing import Callable, Dict, List, NamedTuple, Tuple, Union

PROTOCOL = 1
LIMIT = 1024 * 1024 + 64  # bytes after the length
SLICE = 32 * 1024  # payload of one Data or Blob frame
PIECE = 1024 * 1024  # an encoded piece
PIECES = 1 << 17  # of one swarm
BLOB = 256 * 1024 * 1024  # a manifest or a layout
WORDS = 256 * 1024
NAME = 256  # characters of a name
ROLES = ("peer", "relay", "origin")

Payload = Union[bytes, memoryview]


class WireError(Exception):
    """What came in is no frame of this protocol: the connection is of no more use."""


class Hello(NamedTuple):
    """First on each connection, from both sides. `swarm` is its id, or "" for the tracker's words."""

    swarm: str
    name: str
    role: str  # "peer", "relay" or "origin"
    pieces: int  # of the swarm; 0 in a connection for words
    protocol: int = PROTOCOL


class Bits(NamedTuple):
    """What the sender holds: bit i is piece i."""

    bits: int


class Have(NamedTuple):
    """Pieces that the sender holds from now on."""

    pieces: Tuple[int, ...]


class Request(NamedTuple):
    """Send me this piece."""

    piece: int


class Any(NamedTuple):
    """Send me `count` pieces more, whichever you choose (to choosers only)."""

    count: int  # type: ignore[assignment]


class Cancel(NamedTuple):
    """I need this piece no more. There is no answer; slices may still come."""

    piece: int


class Refuse(NamedTuple):
    """I do not send what you requested."""

    piece: int


class Data(NamedTuple):
    """A slice of an encoded piece. The slices of a piece come in order; `total` is the encoded length."""

    piece: int
    encoding: int
    total: int
    offset: int
    payload: Payload


class Words(NamedTuple):
    """A JSON object: tracker and relay control."""

    doc: Dict[str, Anything]


class Blob(NamedTuple):
    """A slice of a longer answer to Words (manifest, layout); `id` is the question's."""

    id: int
    total: int
    offset: int
    payload: Payload


Message = Union[Hello, Bits, Have, Request, Any, Cancel, Refuse, Data, Words, Blob]

_HEAD = struct.Struct(">IB")
_U32 = struct.Struct(">I")
_DATA = struct.Struct(">IBIBII")  # length, type, piece, encoding, total, offset
_BLOB = struct.Struct(">IBIII")  # length, type, id, total, offset
_DATA_BODY = struct.Struct(">IBII")
_BLOB_BODY = struct.Struct(">III")
_HELLO, _BITS, _HAVE, _REQUEST, _ANY, _CANCEL, _REFUSE, _DATA_TYPE, _WORDS, _BLOB_TYPE = range(1, 11)
_NUMBERED: Dict[type, int] = {Request: _REQUEST, Any: _ANY, Cancel: _CANCEL, Refuse: _REFUSE}


def data_header(piece: int, encoding: int, total: int, offset: int, length: int) -> bytes:
    """The bytes before a Data payload of `length` bytes (which the sender writes uncopied after it)."""
    return _DATA.pack(_DATA.size - 4 + length, _DATA_TYPE, piece, encoding, total, offset)


def blob_header(id: int, total: int, offset: int, length: int) -> bytes:
    """The bytes before a Blob payload of `length` bytes."""
    return _BLOB.pack(_BLOB.size - 4 + length, _BLOB_TYPE, id, total, offset)


def encode(message: Message) -> bytes:
    """A message as one frame.

    Raises:
        WireError: it does not fit (a payload over 32 KiB, words over 256 KiB).
    """
    kind = type(message)
    if kind in _NUMBERED:
        return _HEAD.pack(5, _NUMBERED[kind]) + _U32.pack(message[0])
    if isinstance(message, Have):
        return _frame(_HAVE, struct.pack(f">{len(message.pieces)}I", *message.pieces))
    if isinstance(message, Bits):
        return _frame(_BITS, message.bits.to_bytes((message.bits.bit_length() + 7) // 8, "little"))
    if isinstance(message, (Data, Blob)):
        length = len(message.payload)
        if length > SLICE:
            raise WireError(f"a slice of {length} bytes; at most {SLICE} go into one frame")
        if isinstance(message, Data):
            head = data_header(message.piece, message.encoding, message.total, message.offset, length)
        else:
            head = blob_header(message.id, message.total, message.offset, length)
        return head + bytes(message.payload)
    if isinstance(message, Hello):
        return _frame(_HELLO, _json(message._asdict(), 4096))
    if isinstance(message, Words):
        return _frame(_WORDS, _json(message.doc, WORDS))
    raise WireError(f"{kind.__name__} is no message of this protocol")


class Decoder:
    """Bytes in, messages out, for one connection. Holds at most one unfinished frame."""

    def __init__(self) -> None:
        self._parts: List[Payload] = []
        self._size = 0  # bytes in parts
        self._need = 4  # bytes until the unfinished frame (or its length) is whole

    def feed(self, data: bytes) -> List[Message]:
        """The messages that are whole with these bytes.

        Payloads are views of `data` where a frame lies wholly in it: `data` must be bytes that nobody changes.

        Raises:
            WireError: a bad type, an oversize or malformed frame; nothing after it can be read.
        """
        if self._size:
            self._parts.append(data)
            self._size += len(data)
            if self._size < self._need:
                return []
            data = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
        out: List[Message] = []
        view = memoryview(data)
        at, end = 0, len(data)
        self._need = 4
        while end - at >= 4:
            length = _U32.unpack_from(data, at)[0]
            if not 1 <= length <= LIMIT:
                raise WireError(f"a frame of {length} bytes; at most {LIMIT} are allowed")
            if end - at < 4 + length:
                self._need = 4 + length
                break
            out.append(_message(view[at + 4 : at + 4 + length]))
            at += 4 + length
        if at < end:
            self._parts.append(view[at:])
            self._size = end - at
        return out


def _frame(kind: int, body: bytes) -> bytes:
    if len(body) + 1 > LIMIT:
        raise WireError(f"a message of {len(body)} bytes does not fit into one frame")
    return _HEAD.pack(len(body) + 1, kind) + body


def _json(doc: Dict[str, Anything], limit: int) -> bytes:
    body = json.dumps(doc, separators=(",", ":")).encode("ascii")
    if len(body) > limit:
        raise WireError(f"words of {len(body)} bytes; at most {limit} go into one frame")
    return body


def _message(frame: memoryview) -> Message:
    kind = frame[0]
    if kind == _DATA_TYPE:
        return _data(frame)
    reader = _READERS.get(kind)
    if reader is None:
        raise WireError(f"a frame of the unknown type {kind}")
    return reader(frame[1:])


def _data(frame: memoryview) -> Data:
    if len(frame) < 1 + _DATA_BODY.size:
        raise WireError("a data frame that is too short")
    piece, encoding, total, offset = _DATA_BODY.unpack_from(frame, 1)
    payload = frame[1 + _DATA_BODY.size :]
    if not 0 < len(payload) <= SLICE or total > PIECE or offset + len(payload) > total:
        raise WireError(f"a slice of {len(payload)} bytes at {offset} of {total} of piece {piece}")
    return Data(piece, encoding, total, offset, payload)


def _blob(body: memoryview) -> Blob:
    if len(body) < _BLOB_BODY.size:
        raise WireError("a blob frame that is too short")
    ident, total, offset = _BLOB_BODY.unpack_from(body)
    payload = body[_BLOB_BODY.size :]
    if len(payload) > SLICE or total > BLOB or offset + len(payload) > total:
        raise WireError(f"a slice of {len(payload)} bytes at {offset} of a blob of {total}")
    if not payload and total:
        raise WireError("an empty slice of a blob")
    return Blob(ident, total, offset, payload)


def _number(make: Callable[[int], Message]) -> Callable[[memoryview], Message]:
    def read(body: memoryview) -> Message:
        if len(body) != 4:
            raise WireError(f"a number of {len(body)} bytes; 4 are expected")
        return make(_U32.unpack(body)[0])

    return read


def _have(body: memoryview) -> Have:
    if len(body) % 4 or len(body) > 4 * PIECES:
        raise WireError(f"a list of pieces of {len(body)} bytes")
    return Have(struct.unpack(f">{len(body) // 4}I", body))


def _bits(body: memoryview) -> Bits:
    if len(body) > PIECES // 8:
        raise WireError(f"a bit mask of {len(body)} bytes; at most {PIECES // 8} are allowed")
    return Bits(int.from_bytes(body, "little"))


def _object(body: memoryview, limit: int) -> Dict[str, Anything]:
    if len(body) > limit:
        raise WireError(f"words of {len(body)} bytes; at most {limit} are allowed")
    try:
        doc = json.loads(bytes(body))
    except (ValueError, RecursionError) as error:
        raise WireError(f"words that are no JSON: {error}") from None
    if not isinstance(doc, dict):
        raise WireError("words that are no JSON object")
    return doc


def _words(body: memoryview) -> Words:
    return Words(_object(body, WORDS))


def _hello(body: memoryview) -> Hello:
    doc = _object(body, 4096)
    values = [doc.get(field) for field in Hello._fields]
    swarm, name, role, pieces, protocol = values
    for value in (swarm, name, role):
        if not isinstance(value, str) or len(value) > NAME:
            raise WireError("a hello without proper swarm, name and role")
    if type(pieces) is not int or not 0 <= pieces <= PIECES or type(protocol) is not int:
        raise WireError("a hello without proper pieces and protocol")
    if role not in ROLES:
        raise WireError(f"a hello with the role {role!r}; there are {', '.join(ROLES)}")
    return Hello(*values)  # type: ignore[arg-type]


_READERS: Dict[int, Callable[[memoryview], Message]] = {
    _HELLO: _hello,
    _BITS: _bits,
    _HAVE: _have,
    _REQUEST: _number(Request),
    _ANY: _number(Any),
    _CANCEL: _number(Cancel),
    _REFUSE: _number(Refuse),
    _WORDS: _words,
    _BLOB_TYPE: _blob,
}
