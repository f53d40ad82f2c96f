"""One health check or probe: done once, with a time limit that really ends it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import socket
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Set

from cockpit.agent.waiting import within

MAX_BODY = 64 * 1024
MAX_HEAD = 16 * 1024

ours: Set[int] = set()
"""Local ports of checks under way: a drain must not count them as clients."""


class CheckFailed(Exception):
    """Why it is not well, in a few words: `http 503`, `tcp 127.0.2.4:20013 refused`."""


@dataclass(frozen=True)
class Subject:
    """What is checked."""

    address: str
    ports: Mapping[str, int]
    cwd: str = "/"
    env: Mapping[str, str] = field(default_factory=dict)
    uid: Optional[int] = None
    gid: Optional[int] = None
    groups: Optional[List[int]] = None

    def port(self, name: Optional[str]) -> int:
        """The named port, or the only one. Raises CheckFailed."""
        if name:
            if name not in self.ports:
                raise CheckFailed(f"there is no port {name}")
            return self.ports[name]
        if len(self.ports) != 1:
            raise CheckFailed("the check names no port, and there is not exactly one")
        return next(iter(self.ports.values()))


async def run(check: Mapping[str, Any], subject: Subject) -> bytes:
    """What it said (http body, output). Raises CheckFailed. Notify checks are none of its business."""
    timeout = float(check.get("timeout", 1.0))
    try:
        if check.get("http") is not None:
            where = check["http"]
            ask = http_get(subject.address, subject.port(where.get("port")), str(where.get("path", "/")))
            return await within(ask, timeout)
        if check.get("exec"):
            return await execute([str(a) for a in check["exec"]], subject, timeout)
        await within(tcp(subject.address, subject.port(check.get("tcp") or None)), timeout)
        return b""
    except asyncio.TimeoutError:
        raise CheckFailed(f"no answer in {timeout:g} s") from None


def parse_probe(data: bytes) -> Dict[str, Any]:
    """The JSON object a probe returned. Raises CheckFailed."""
    try:
        doc = json.loads(data)
    except (ValueError, RecursionError):
        raise CheckFailed("the probe did not answer with JSON") from None
    if not isinstance(doc, dict):
        raise CheckFailed("the probe did not answer with a JSON object")
    return doc


async def tcp(address: str, port: int) -> None:
    sock = await _open(address, port)
    _close(sock)


async def http_get(address: str, port: int, path: str) -> bytes:
    """Body (at most MAX_BODY) of a 2xx or 3xx answer."""
    if not path.startswith("/") or any(c in path for c in "\r\n "):
        raise CheckFailed(f"{path!r} is not an http path")
    host = f"[{address}]" if ":" in address else address
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: cockpit\r\nAccept: */*\r\n"
        "Connection: close\r\n\r\n"
    )
    loop = asyncio.get_running_loop()
    sock = await _open(address, port)
    data = b""
    try:
        await loop.sock_sendall(sock, request.encode())
        while not _complete(data) and len(data) < MAX_HEAD + MAX_BODY:
            block = await loop.sock_recv(sock, 16 * 1024)
            if not block:
                break
            data += block
    except OSError as e:
        raise CheckFailed(f"http {address}:{port} {_word(e)}") from None
    finally:
        _close(sock)
    return http_body(data)


def http_body(data: bytes) -> bytes:
    """Body of a whole response. Raises CheckFailed for anything but 2xx and 3xx."""
    head, gap, body = data.partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0].split(None, 2)
    if not gap or len(status) < 2 or not status[0].startswith(b"HTTP/") or not status[1].isdigit():
        raise CheckFailed("the answer is not http" if data else "http: closed without an answer")
    if not 200 <= int(status[1]) < 400:
        raise CheckFailed(f"http {int(status[1])}")
    if _header(head, b"transfer-encoding").lower() == b"chunked":
        return _unchunk(body)
    return body[:MAX_BODY]


def _complete(data: bytes) -> bool:
    """Is the whole response here? Some servers keep the connection open all the same."""
    head, gap, body = data.partition(b"\r\n\r\n")
    if not gap:
        return False
    length = _header(head, b"content-length")
    if length.isdigit():
        return len(body) >= int(length)
    return _header(head, b"transfer-encoding").lower() == b"chunked" and body.endswith(b"0\r\n\r\n")


def _header(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return b""


def _unchunk(body: bytes) -> bytes:
    out = b""
    while len(out) < MAX_BODY:
        size, gap, body = body.partition(b"\r\n")
        try:
            n = int(size.split(b";")[0], 16)
        except ValueError:
            break
        if not gap or n == 0:
            break
        out += body[:n]
        body = body[n + 2 :]
    return out[:MAX_BODY]


async def execute(argv: List[str], subject: Subject, timeout: float) -> bytes:
    """Output of a command of exit code 0, run as the service's user. It is killed with its children."""
    identity: Dict[str, Any] = {}
    if subject.uid is not None:
        identity = {"user": subject.uid, "group": subject.gid, "extra_groups": subject.groups or []}
    output = _Output()
    try:
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=asyncio.subprocess.DEVNULL, stdout=output.end, stderr=asyncio.subprocess.STDOUT,
                cwd=subject.cwd, env=dict(subject.env), start_new_session=True, **identity,
            )
        except (OSError, ValueError) as e:
            code = errno.errorcode.get(getattr(e, "errno", 0) or 0, "")
            raise CheckFailed(f"exec: {code or e} {argv[0]}") from None
        try:
            how = await within(process.wait(), timeout)
        finally:
            try:  # also what it left running in its session
                os.killpg(process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
            await process.wait()
        output.read()
    finally:
        output.close()
    if how != 0:
        said = output.kept.decode(errors="replace").strip().splitlines()
        word = f"exit {how}" if how > 0 else f"signal {-how}"
        raise CheckFailed(f"{word}: {said[-1][:200]}" if said else word)
    return bytes(output.kept)


class _Output:
    """A pipe of our own for a command's output: the first MAX_BODY bytes are kept, the rest is drained.

    With asyncio's pipes the end of the command would not be seen before its last child closes them.
    """

    def __init__(self) -> None:
        self.kept = bytearray()
        self._fd, self.end = os.pipe()
        os.set_blocking(self._fd, False)
        asyncio.get_running_loop().add_reader(self._fd, self.read)

    def read(self) -> None:
        try:
            while True:
                data = os.read(self._fd, 64 * 1024)
                self.kept += data[: MAX_BODY - len(self.kept)]
                if len(data) < 64 * 1024:
                    break
        except OSError:
            pass

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)
        os.close(self.end)


async def _open(address: str, port: int) -> socket.socket:
    """A connection from the host's own address. Raises CheckFailed."""
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        try:
            sock.setsockopt(socket.SOL_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT: do not use up source ports
            sock.bind((address, 0))
        except OSError:
            pass  # the address is not one of this machine's
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
        ours.add(sock.getsockname()[1])
        return sock
    except OSError as e:
        sock.close()
        raise CheckFailed(f"tcp {address}:{port} {_word(e)}") from None
    except BaseException:
        sock.close()
        raise


def _close(sock: socket.socket) -> None:
    try:
        ours.discard(sock.getsockname()[1])
    except OSError:
        pass
    sock.close()


def _word(e: OSError) -> str:
    words = {
        errno.ECONNREFUSED: "refused", errno.ECONNRESET: "reset", errno.EHOSTUNREACH: "unreachable",
        errno.ENETUNREACH: "unreachable", errno.ETIMEDOUT: "timed out",
    }
    return words.get(e.errno or 0, e.strerror or "failed")
