"""Other programs on the same links: rsync (each receiver pulls from the source) and aria2 (BitTorrent).

    python -m tests.bench.p2p.rivals PORT      a tracker for aria2
"""

from __future__ import annotations

import hashlib
import http.server
import os
import shutil
import sys
import time
import urllib.parse
from pathlib import Path
from typing import Any

from tests.bench.p2p.field import SOURCE, Field, digest, until

SYNC_PORT, TRACKER_PORT = 8730, 8000
PIECE = 256 * 1024
SETTLE = 1.0
ARIA = (
    "aria2c", "--no-conf", "-q", "--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false",
    "--enable-peer-exchange=false", "--seed-ratio=0", "--seed-time=600", "--file-allocation=none",
    "--listen-port=6881",
)  # fmt: skip


def here(name: str) -> bool:
    return shutil.which(name) is not None


def rsync(f: Field) -> float:
    """Seconds until every receiver of a field has pulled the file."""
    folder = f.root / "rsync"
    folder.mkdir()
    settings = ("use chroot=no", "uid=0", "gid=0", "log file=/dev/null", "[x]", f"path={f.root}", "read only=yes", "")
    (folder / "conf").write_text("\n".join(settings))
    f.spawn(SOURCE, "rsync", "--daemon", "--no-detach", f"--config={folder}/conf", f"--port={SYNC_PORT}")
    time.sleep(SETTLE)
    start = time.monotonic()
    url = f"rsync://{f.address(SOURCE)}:{SYNC_PORT}/x/{f.content.name}"
    pulls = [f.spawn(name, "rsync", "--whole-file", "--inplace", url, str(folder / name)) for name in f.links]
    codes = [pull.wait() for pull in pulls]
    seconds = time.monotonic() - start
    _check(f, [folder / name for name in f.links], codes)
    return seconds


def aria2(f: Field) -> float:
    """Seconds until every receiver has the file, by BitTorrent with a tracker of ours; all go on seeding."""
    folder = f.root / "aria2"
    (folder / SOURCE).mkdir(parents=True)
    os.link(f.content, folder / SOURCE / "out")
    torrent = folder / "torrent"
    torrent.write_bytes(_torrent(f.content, f"http://{f.address('t')}:{TRACKER_PORT}/announce"))
    root = str(Path(__file__).resolve().parents[3])
    f.spawn("t", "env", f"PYTHONPATH={root}", sys.executable, "-m", "tests.bench.p2p.rivals", str(TRACKER_PORT))
    time.sleep(SETTLE)
    f.spawn(SOURCE, *ARIA, "--bt-seed-unverified=true", "--allow-overwrite=true", "-d", str(folder / SOURCE),
            str(torrent))  # fmt: skip
    time.sleep(SETTLE)
    start = time.time()
    for name in f.links:
        place = folder / name
        place.mkdir()
        hook = place / "hook"
        hook.write_text(f"#!/bin/sh\ntouch {place}/done\n")
        hook.chmod(0o700)
        f.spawn(name, *ARIA, f"--on-bt-download-complete={hook}", "-d", str(place), str(torrent))
    done = [folder / name / "done" for name in f.links]
    until(lambda: all(path.exists() for path in done), "aria2 is done")
    _check(f, [folder / name / "out" for name in f.links], [])
    return max(path.stat().st_mtime for path in done) - start


def _check(f: Field, copies: list[Path], codes: list[int]) -> None:
    wanted = digest(f.content)
    if any(codes) or any(digest(copy) != wanted for copy in copies):
        raise RuntimeError(f"a receiver failed: {codes}")


def _torrent(path: Path, announce: str) -> bytes:
    with path.open("rb") as file:
        sums = b"".join(hashlib.sha1(data).digest() for data in iter(lambda: file.read(PIECE), b""))
    info = {"length": path.stat().st_size, "name": "out", "piece length": PIECE, "pieces": sums}
    return bencode({"announce": announce, "info": info})


def bencode(value: Any) -> bytes:
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, dict):
        return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"
    return b"l" + b"".join(map(bencode, value)) + b"e"


class Tracker(http.server.BaseHTTPRequestHandler):
    """Tells everybody of everybody."""

    seen: dict[tuple[str, int], bytes] = {}  # noqa: RUF012

    def do_GET(self) -> None:
        asked = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query, encoding="latin-1")
        me = self.client_address[0], int(asked["port"][0])
        self.seen[me] = asked["peer_id"][0].encode("latin-1")
        others = [
            {"ip": ip, "port": port, "peer id": id} for (ip, port), id in self.seen.items() if (ip, port) != me
        ]
        answer = bencode({"interval": 2, "min interval": 2, "peers": others})
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        return


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("", int(sys.argv[1])), Tracker).serve_forever()
