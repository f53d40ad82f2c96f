"""Heads of a swarm, manifest and layout: serving them, and asking for them.

Over a connection for words, with the asker's own `id`:

    -> {"op":"manifest","id":1,"sha256":S,"layout":L,"region":R,"bases":[SHA256,...]}    manifests that it holds
    <- {"id":1,"base":""}, then Blobs of id 1: the zlib'ed text; or {"id":1,"base":SHA256}: a difference to that one
    -> {"op":"layout","id":2,"sha256":S,"layout":L,"region":R}
    <- Blobs of id 2
    <- {"id":1,"error":CODE,"text":SENTENCE}       unknown, bad, busy

What is long is not sent to all (see `handing`): others are asked in the same words, with "hand":true.

    <- {"id":1,"wait":true}                        now and then, while the asker waits for its turn
    <- {"id":1,"ask":{"name","kind","address","port"},"size":N}
    -> {...,"failed":NAME}                         asked again: it did not get it there
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import zlib
from collections import OrderedDict
from concurrent.futures import Executor
from typing import (
    IO,
    Any,
    Awaitable,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
    Union,
)

from cockpit.swarm import wire
from cockpit.swarm.difference import DifferenceError, apply, difference
from cockpit.swarm.handing import SMALL
from cockpit.swarm.layout import MAX_BYTES as MAX_LAYOUT
from cockpit.swarm.link import Link, Slices
from cockpit.swarm.manifest import FORMAT, HEX, MAX_TEXT, ManifestError
from cockpit.swarm.records import BLOCK, unzipped_lines

MAX_BASES = 16
DIFFERENCES = 8
"""Kept in memory: most hosts of a push hold the same old version."""
WORTH = 4096
"""A whole manifest that is not longer needs no difference."""
NAMED = 4
"""Times that the tracker may name another node: it sends it itself when one has failed."""

T = TypeVar("T")


class HeadError(Exception):
    """What came is not what was asked for, or nothing came: `code` is digest, unreachable or unknown."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def text_lines(path: str) -> Iterator[bytes]:
    """Lines of a manifest kept as text or as zlib'ed text. Raises ManifestError, OSError."""
    with open(path, "rb") as f:
        if f.read(len(FORMAT)) == FORMAT:
            f.seek(0)
            yield from f
        else:
            f.seek(0)
            yield from unzipped_lines(iter(lambda: f.read(BLOCK), b""))


def packed(path: str) -> bytes:
    """The zlib'ed text, whichever way it is kept. Raises OSError."""
    with open(path, "rb") as f:
        data = f.read()
    return zlib.compress(data, 6) if data.startswith(FORMAT) else data


class Heads:
    """Sends manifests; `place(sha256)` is the path of an older one that is here. One for all swarms of a tracker."""

    def __init__(self, worker: Executor, place: Callable[[str], Optional[str]]) -> None:
        self._worker = worker
        self._place = place
        self._made: "OrderedDict[Tuple[str, str], asyncio.Future[bytes]]" = OrderedDict()
        self._loop = asyncio.get_running_loop()

    async def encoded(self, path: str, sha256: str, bases: Any) -> Tuple[str, bytes]:
        """(base, what travels) of the manifest at `path`: a difference when we have one of `bases` too, which `base`
        is then. Raises HeadError unknown."""
        base, data = "", b""
        try:
            if os.stat(path).st_size > WORTH:
                base, data = await self._difference(path, sha256, bases)
            if not base:
                data = await self._run((sha256, ""), packed, path)
        except (OSError, ManifestError) as error:
            raise HeadError("unknown", f"the manifest {sha256[:12]} cannot be read: {error}") from None
        return base, data

    async def _difference(self, path: str, sha256: str, bases: Any) -> Tuple[str, bytes]:
        """(base, difference) to the first base of this name that we have too, or empty. Relays offer what they have
        of everything."""
        name = _name(path)
        for base in bases if isinstance(bases, list) else ():
            if not isinstance(base, str) or not HEX.fullmatch(base) or base == sha256:
                continue
            old = self._place(base)
            if old is not None and _name(old) == name:
                try:
                    return base, await self._run((sha256, base), _difference, old, path)
                except (OSError, ManifestError):
                    continue
        return "", b""

    async def _run(self, key: Tuple[str, str], work: Callable[..., bytes], *args: str) -> bytes:
        """Made once, however many ask at the same time."""
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = self._loop.run_in_executor(self._worker, work, *args)
            made.add_done_callback(lambda done: self._made.pop(key, None) if done.exception() else None)
            while len(self._made) > DIFFERENCES:
                self._made.popitem(last=False)
        else:
            self._made.move_to_end(key)
        return await asyncio.shield(made)


def _name(path: str) -> bytes:
    """The line of a manifest that names the artifact; empty when it cannot be read."""
    try:
        lines = text_lines(path)
        next(lines, b"")
        return next(lines, b"")
    except (OSError, ManifestError):
        return b""


def _difference(old: str, new: str) -> bytes:
    return difference(text_lines(old), text_lines(new))


def blob(link: Link, id: int, data: bytes) -> None:
    """Send long bytes as the answer to a question."""
    if not data:
        link.send(wire.Blob(id, 0, 0, b""))
        return
    view = memoryview(data)
    blob_of(link, id, len(view), lambda at, count: view[at : at + count])


def blob_of(link: Link, id: int, total: int, read: Callable[[int, int], Union[bytes, memoryview]]) -> None:
    """The same, read as it goes."""

    def head(total: int, offset: int, length: int) -> bytes:
        return wire.blob_header(id, total, offset, length)

    link.upload(Slices(("blob", id), total, head, read, _nothing))


def refuse(link: Link, id: Any, code: str, text: str) -> None:
    link.send(wire.Words({"id": id, "error": code, "text": text}))


def _nothing() -> None:
    return


class Answer:
    """What comes back to one question: words first (optional), then a blob."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.words: Dict[str, Any] = {}
        self.data = bytearray()
        self.turns = 0
        """What came so far, in messages."""
        self.done: "asyncio.Future[None]" = asyncio.get_running_loop().create_future()

    def heard(self, message: Any) -> None:
        """Words or Blob with our id. Raises wire.WireError when they do not join."""
        if self.done.done():
            return
        self.turns += 1
        if isinstance(message, wire.Words):
            if "wait" in message.doc:
                return
            self.words = message.doc
            if "ask" in message.doc:
                self.done.set_result(None)
            if "error" in message.doc:
                self.fail(HeadError(str(message.doc["error"])[:20], str(message.doc.get("text", ""))[:1000]))
            return
        if message.offset != len(self.data) or message.total > self.limit:
            raise wire.WireError(f"an answer of {message.total} bytes at {message.offset}")
        self.data += message.payload
        if len(self.data) >= message.total:
            self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


Ask = Callable[[Dict[str, Any], int], Awaitable[Answer]]
"""ask(doc, limit): the answer of the tracker when it is whole. Raises HeadError."""
Elsewhere = Callable[[Dict[str, Any], Any, Any, int], Awaitable[Answer]]
"""elsewhere(doc, holder, size, limit): that of the node which the tracker names. Raises HeadError."""


class Came(NamedTuple):
    travelled: int
    """Bytes, in vain ones included."""
    base: str
    """The manifest that it came as a difference to, which is kept beside it then; empty when it is not."""


class _Unfit(Exception):
    """A difference that cannot be used."""


async def _asked(
    ask: Ask, elsewhere: Optional[Elsewhere], doc: Dict[str, Any], limit: int,
    use: Callable[[Answer], Awaitable[T]],
) -> T:
    """What `use` makes of the answer of the tracker, or of the nodes that it names. Raises HeadError, and what `use`
    does for what the tracker sent itself."""
    failed: Dict[str, str] = {}
    for _ in range(NAMED):
        answer = await ask({**doc, **failed}, limit)
        holder = answer.words.get("ask")
        if holder is None:
            return await use(answer)
        failed = {"failed": str(holder.get("name") if isinstance(holder, dict) else "")[: wire.NAME]}
        if elsewhere is not None:
            try:
                return await use(await elsewhere(doc, holder, answer.words.get("size"), limit))
            except (HeadError, _Unfit):
                continue
    raise HeadError("unreachable", "the tracker only names others, which do not have it")


async def ask_layout(
    ask: Ask, sha256: str, layout: str, elsewhere: Optional[Elsewhere] = None, region: str = ""
) -> bytes:
    """Raises HeadError."""

    async def use(answer: Answer) -> bytes:
        if hashlib.sha256(answer.data).hexdigest() != layout:
            raise HeadError("digest", "the layout that came has another digest than was asked for")
        return bytes(answer.data)

    doc = {"op": "layout", "sha256": sha256, "layout": layout, "region": region}
    return await _asked(ask, elsewhere, doc, MAX_LAYOUT, use)


async def ask_manifest(
    ask: Ask, worker: Executor, sha256: str, layout: str, target: str, bases: Sequence[str],
    lines: Callable[[str], Iterable[bytes]], elsewhere: Optional[Elsewhere] = None, region: str = "",
) -> Came:
    """Get a manifest, whole or as a difference, and keep its zlib'ed text in the new file `target` (0600); a long
    difference is kept in `target`.difference besides.

    `lines(base)` gives the text of a manifest that is held. Raises HeadError, OSError.
    """
    loop = asyncio.get_running_loop()
    travelled = 0

    async def use(answer: Answer) -> Came:
        nonlocal travelled
        travelled += len(answer.data)
        base = answer.words.get("base", "")
        if base and base not in offered:
            raise HeadError("digest", "a difference to a manifest that we do not have")
        try:
            kept = await loop.run_in_executor(worker, _keep, answer.data, base, lines, sha256, target)
        except (DifferenceError, ManifestError, LookupError) as error:
            if base:
                raise _Unfit from None
            raise HeadError("digest", f"the manifest that came: {error}") from None
        return Came(travelled, base if kept else "")

    for offered in ([list(bases)[:MAX_BASES], []] if bases else [[]]):
        doc = {"op": "manifest", "sha256": sha256, "layout": layout, "region": region, "bases": offered}
        try:
            return await _asked(ask, elsewhere, doc, MAX_TEXT, use)
        except _Unfit:
            continue
    raise HeadError("digest", "the manifest could not be made from what came")


def _keep(
    data: Union[bytes, bytearray], base: str, lines: Callable[[str], Iterable[bytes]], sha256: str, target: str
) -> bool:
    """In a thread. Whether the difference is kept too. Raises DifferenceError, ManifestError, OSError; `target`
    appears whole or not at all."""
    view = memoryview(data)
    blocks = (bytes(view[at : at + BLOCK]) for at in range(0, len(view), BLOCK))
    text: Iterator[bytes] = apply(lines(base), blocks, sha256) if base else unzipped_lines(blocks)
    new = f"{target}.new"
    sha = hashlib.sha256()
    packer = zlib.compressobj(6)
    size = 0
    with _create(new) as f:
        for part in _joined(text):
            sha.update(part)
            size += len(part)
            if base:
                f.write(packer.compress(part))
        if base:
            f.write(packer.flush())
        elif len(data) <= size + size // 1000 + WORTH:
            f.write(view)  # as it came: packing it again takes longer than anything else here
        else:
            raise ManifestError("it is packed so that it is longer than unpacked")
    if sha.hexdigest() != sha256:
        os.unlink(new)
        raise ManifestError("it has another digest than was asked for")
    keep = bool(base) and len(data) >= SMALL
    if keep:
        with _create(f"{target}.difference") as f:
            f.write(view)
    os.replace(new, target)
    return keep


def _create(path: str) -> IO[bytes]:
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb")


def _joined(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines in blocks: one call for many."""
    kept: List[bytes] = []
    size = 0
    for line in lines:
        kept.append(line)
        size += len(line)
        if size >= BLOCK:
            yield b"".join(kept)
            kept.clear()
            size = 0
    yield b"".join(kept)
