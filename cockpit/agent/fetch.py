"""Fetching an artifact from the controller: ranged HTTPS, resumed, verified as a whole.

`obtain` is the seam: a swarm will take its place.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Optional
from urllib.parse import urlsplit

from cockpit.agent.files import make_dir
from cockpit.agent.identity import Identity, WrongController, check_controller, origin
from cockpit.agent.install import digest

CHUNK = 256 * 1024
TIMEOUT = 15.0
TRIES = 6
SHA256 = re.compile(r"[0-9a-f]{64}")
PATH = re.compile(r"/[A-Za-z0-9._~/-]{1,512}")

Progress = Callable[[int, int], None]


class FetchError(Exception):
    """`code`: bad (arguments), none (the controller does not have it), digest, unreachable, space."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Fetcher:
    """Downloads into DIR/fetch/SHA256.part, two at a time."""

    def __init__(self, host_dir: str, identity: Identity, address: Callable[[], str]) -> None:
        self.dir = os.path.join(host_dir, "fetch")
        self._identity = identity
        self._address = address
        self._pool: Optional[ThreadPoolExecutor] = None

    async def obtain(self, sha256: str, size: int, url: str, progress: Progress) -> str:
        """Path of the complete, verified archive; the caller removes it. Raises FetchError."""
        if not SHA256.fullmatch(sha256) or not PATH.fullmatch(url) or size < 0:
            raise FetchError("bad", "sha256, size and url of an artifact are wanted")
        if self._pool is None:
            self._pool = ThreadPoolExecutor(2, thread_name_prefix="fetch")
        stop = threading.Event()
        loop = asyncio.get_running_loop()

        def tell(done: int, total: int) -> None:
            loop.call_soon_threadsafe(progress, done, total)

        job = loop.run_in_executor(self._pool, self._download, sha256, size, url, tell, stop)
        try:
            return await job
        finally:
            stop.set()

    def _download(self, sha256: str, size: int, url: str, tell: Progress, stop: threading.Event) -> str:
        make_dir(self.dir)
        if size and shutil.disk_usage(self.dir).free < 2 * size:
            raise FetchError("space", f"not enough room on this host for {size} bytes and their content")
        part = os.path.join(self.dir, f"{sha256}.part")
        why = "no controller is known"
        for n in range(TRIES):
            if n and stop.wait(min(0.2 * 2**n, 3.0)):
                break
            base = self._identity.controllers[n % len(self._identity.controllers)]
            try:
                self._get(base, url, part, size, tell, stop)
                break
            except (OSError, http.client.HTTPException) as e:
                why = f"{origin(base)}: {getattr(e, 'strerror', None) or e or type(e).__name__}"
        else:
            raise FetchError("unreachable", f"the artifact could not be fetched: {why}")
        if stop.is_set():
            raise FetchError("unreachable", "stopped")
        if digest(part) != sha256:
            os.unlink(part)
            raise FetchError("digest", f"what came is not artifact {sha256[:12]}; it was thrown away")
        return part

    def _get(
        self, base: str, url: str, part: str, size: int, tell: Progress, stop: threading.Event
    ) -> None:
        """One request, from where the partial file ends. OSError: it should be tried again."""
        have = os.path.getsize(part) if os.path.exists(part) else 0
        if size and have > size:
            os.unlink(part)
            have = 0
        if size and have == size:
            return
        where = urlsplit(origin(base))
        address = self._address()
        link = http.client.HTTPSConnection(
            where.hostname or "", where.port, timeout=TIMEOUT, context=self._identity.context(),
            source_address=(address, 0) if address else None,
        )
        try:
            link.connect()
            check_controller(link.sock.getpeercert(), self._identity.cluster)
            link.request("GET", url, headers={"Range": f"bytes={have}-"} if have else {})
            reply = link.getresponse()
            if reply.status == 416 and not size:  # all of it is here already
                return
            if reply.status not in (200, 206):
                reason = f"HTTP {reply.status} {reply.reason}"
                if reply.status in (403, 404, 410):
                    raise FetchError("none", f"the controller does not give this artifact: {reason}")
                raise OSError(reason)
            came = str(reply.getheader("Content-Range"))
            if reply.status == 206 and not came.startswith(f"bytes {have}-"):
                raise OSError("the controller sent another range than was asked for")
            self._receive(reply, part, have if reply.status == 206 else 0, size, tell, stop)
        except WrongController as e:
            raise FetchError("unreachable", str(e)) from None
        finally:
            link.close()

    def _receive(
        self, reply: http.client.HTTPResponse, part: str, have: int, size: int, tell: Progress,
        stop: threading.Event,
    ) -> None:
        told = 0.0
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        with open(fd, "wb") as out:
            out.truncate(have)
            out.seek(have)
            while not stop.is_set():
                block = reply.read(CHUNK)
                if not block:
                    break
                have += len(block)
                if size and have > size:
                    raise FetchError("digest", f"more than the announced {size} bytes came")
                out.write(block)
                if time.monotonic() - told > 0.5:
                    told = time.monotonic()
                    tell(have, size)
        if size and have < size and not stop.is_set():
            raise OSError(f"the connection ended after {have} of {size} bytes")
