"""A release on its way to a host without an agent: only what is not there yet, verified there, then renamed."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import os
import secrets
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backends.ssh import scripts
from backends.ssh.pool import Done, Kept, NotConnected, opened
from cockpit.agent.files import SAFE
from cockpit.agent.tasks import CommandError
from cockpit.swarm import records
from cockpit.swarm.manifest import Entry, Manifest, ManifestError, parse
from cockpit.swarm.manifest import read as read_manifest

SHORT, LONG = 60.0, 1800.0
STALLED = 60.0
"""Seconds in which nothing moves before a transfer is given up."""
BLOCK = 128 * 1024
Told = Callable[[int], None]


def checked_name(name: str, version: str) -> None:
    """Raises CommandError `bad`."""
    for what, text in (("artifact name", name), ("version", version)):
        if not SAFE.fullmatch(text):
            raise CommandError("bad", f"{text!r:.80} cannot be an {what}")


def load_manifest(path: str, name: str, version: str, sha256: str) -> Manifest:
    """As text or packed. Raises CommandError."""
    try:
        try:
            manifest = read_manifest(path)
        except (ManifestError, UnicodeDecodeError):
            manifest = parse(records.manifest_lines(path))
    except (ManifestError, OSError) as e:
        raise CommandError("digest", f"the manifest of {name}/{version} cannot be read here: {e}") from None
    if (manifest.name, manifest.version, manifest.sha256) != (name, version, sha256):
        raise CommandError("digest", f"the store's manifest is not the one of {name}/{version} ({sha256[:12]})")
    odd = [e.path for e in manifest.entries if "\n" in e.path or "\\" in e.path or "\r" in e.path]
    if odd:
        raise CommandError("bad", f"{odd[0]!r:.80}: names with line ends or backslashes cannot go over SSH")
    return manifest


def record_of(manifest: Manifest) -> str:
    """`.VERSION.json` as an agent writes it, so that one that comes later finds its releases."""
    files = {e.path: [e.sha256.hex(), 0, 0, e.size, 0, 0] for e in manifest.entries if e.kind == "f"}
    links = {e.path: e.target for e in manifest.entries if e.kind == "l"}
    return json.dumps(
        {"sha256": manifest.sha256, "kind": manifest.kind, "size": manifest.size, "files": files, "links": links}
    )


def known_sums(text: str) -> dict[str, str]:
    """Output of scripts.SUMS -> digest -> path below the artifact's directory."""
    found: dict[str, str] = {}
    version = ""
    for line in text.splitlines():
        if line.startswith("of ."):
            version = line[4:].removesuffix(".sums")
        elif len(line) > 66 and line[64:66] == "  " and ".tmp." not in version:
            found[line[:64]] = f"{version}/{line[66:].removeprefix('./')}"
    return found


class Sender:
    """Brings releases to one host. `dir` is its directory there."""

    def __init__(self, kept: Kept, dir: str) -> None:
        self._kept = kept
        self._dir = dir

    async def installed(self, name: str, version: str, sha256: str) -> bool:
        """Raises CommandError `exists` when another content has this name."""
        done = await self._run(scripts.GET, f"releases/{name}/.{version}.json", str(64 * 1024 * 1024))
        if done.code == 3:
            return False
        try:
            has = str(json.loads(done.out)["sha256"])
        except (ValueError, KeyError, TypeError):
            return False  # half a record: made anew
        if has != sha256:
            raise CommandError(
                "exists", f"{name}/{version} is on this host with other content ({has[:12]}, not {sha256[:12]}); "
                "releases are never overwritten",
            )
        return True

    async def check(self, name: str, version: str) -> str:
        """What differs from what was installed; empty when nothing does."""
        done = await self._run(scripts.CHECK, name, version, timeout=LONG)
        lines = _ended(done)
        if not lines:
            return ""
        return f"{lines[0].partition(': ')[0].removeprefix('./')} has other content than was installed"

    async def send(self, manifest: Manifest, root: str, told: Told) -> int:
        """Bytes that went over. Raises CommandError, NotConnected. Nothing that looks like a release is left."""
        name, version, mark = manifest.name, manifest.version, secrets.token_hex(4)
        held = known_sums((await self._run(scripts.SUMS, name)).out)
        files = [e for e in manifest.entries if e.kind == "f"]
        copied = [e for e in files if e.size and e.sha256.hex() in held]
        plan = [line for e in manifest.entries for line in _lines(e, held)]
        where = (name, version, mark)
        self._good(await self._run(scripts.BEGIN, *where, stdin="".join(plan), timeout=LONG), "prepare")
        sent = await self._unpack(root, [e for e in files if e not in copied], where, told)
        sums = "".join(f"{e.sha256.hex()}  ./{e.path}\n" for e in files)
        wrong = await self._finish(where, sums, len(files))
        if wrong:  # what was copied from another version is not what its record says: send it after all
            sent += await self._unpack(root, copied, where, told)
            wrong = await self._finish(where, sums, len(files))
        if wrong:
            raise CommandError("digest", f"{name}/{version} did not arrive as it was sent: {wrong[0]:.200}")
        modes = "".join(f"{e.path}\n" for e in files if e.mode & 0o111)
        self._good(await self._run(scripts.MODES, *where, stdin=modes, timeout=SHORT), "set modes")
        self._good(await self._run(scripts.INSTALL, *where, stdin=record_of(manifest), timeout=LONG), "install")
        return sent

    async def _finish(self, where: tuple[str, str, str], sums: str, files: int) -> list[str]:
        return _ended(await self._run(scripts.FINISH, *where, str(files), stdin=sums, timeout=LONG))

    async def _unpack(self, root: str, files: list[Entry], where: tuple[str, str, str], told: Told) -> int:
        if not files:
            return 0
        async with self._kept.channel() as conn:
            process = await opened(conn, scripts.command(scripts.UNPACK, self._dir, *where))
            loop = asyncio.get_running_loop()
            moved = 0

            async def put(data: bytes) -> None:
                nonlocal moved
                async with asyncio.timeout(STALLED):
                    process.stdin.write(data)
                    await process.stdin.drain()
                moved += len(data)
                told(moved)

            class Out:
                def write(self, data: bytes) -> int:
                    asyncio.run_coroutine_threadsafe(put(data), loop).result(STALLED + 5)
                    return len(data)

            try:
                await asyncio.to_thread(_pack, Out(), root, files)
                process.stdin.write_eof()
                async with asyncio.timeout(LONG):
                    said = await process.stderr.read(4096)
                    await process.wait_closed()
            except (TimeoutError, concurrent.futures.TimeoutError):
                raise CommandError("failed", f"nothing moved for {STALLED:g} s") from None
            except (BrokenPipeError, ConnectionError, OSError) as e:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(2.0):
                        said = await process.stderr.read(4096)
                        if said:
                            raise CommandError("failed", f"tar: {said.decode(errors='replace')[:300]}") from None
                raise NotConnected(f"the transfer broke: {e}") from None
            finally:
                process.close()
            if process.exit_status:
                text = said.decode("utf-8", "replace").strip()
                code = "space" if "No space" in text else "failed"
                raise CommandError(code, f"tar on the host: {text[:300] or process.exit_status}")
            return moved

    async def _run(self, script: str, *args: str, stdin: str | None = None, timeout: float = SHORT) -> Done:
        return await self._kept.run(
            scripts.command(script, self._dir, *args), stdin=stdin, timeout=timeout, most=128 * 1024 * 1024
        )

    def _good(self, done: Done, what: str) -> None:
        if done.code != 0 or not done.out.endswith("end\n"):
            code = "space" if "No space" in done.err else "failed"
            raise CommandError(code, f"{what} on the host: {done.said()}")


def _lines(entry: Entry, held: dict[str, str]) -> list[str]:
    if entry.kind == "d":
        return [f"d\n{entry.path}\n\n"]
    if entry.kind == "l":
        return [f"l\n{entry.path}\n{entry.target}\n"]
    source = held.get(entry.sha256.hex()) if entry.size else None
    return [f"c\n{source}\n{entry.path}\n"] if source else []


def _ended(done: Done) -> list[str]:
    """Lines before `end`. Raises CommandError when it is not there."""
    lines = done.out.splitlines()
    if not lines or lines[-1] != "end":
        raise CommandError("failed", f"the host did not finish: {done.said()}")
    return lines[:-1]


def _pack(out: Any, root: str, files: list[Entry]) -> None:
    """A tar of plain files without owner and times, as the manifest names them."""
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT, bufsize=BLOCK) as tar:
        for entry in files:
            fd = os.open(Path(root) / entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with open(fd, "rb") as f:
                info = tarfile.TarInfo(entry.path)
                info.size, info.mode = entry.size, entry.mode
                tar.addfile(info, f)
