"""What both programs of the sample share: their release, their log, an HTTP server that ends well.

On SIGTERM the server says `Connection: close` to everybody, goes on accepting for a moment, serves
every request that has arrived, and exits 0. Standard library, Python 3.9; in a release this file
lies beside the program.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
import urllib.parse
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

LINGER = 0.3
"""Seconds after SIGTERM in which clients that have just chosen us are still accepted."""
GRACE = 8.0
"""Seconds after that for the requests under way."""
IDLE = 60.0
"""Seconds after which a kept connection is closed."""
TELL = 10.0
"""Seconds between two lines that count the answers."""


class Answer(NamedTuple):
    status: int
    body: bytes
    kind: str = "application/json"


Route = Callable[[Mapping[str, str]], Answer]
"""Takes the query's parameters."""


def as_json(status: int, /, **fields: Any) -> Answer:
    return Answer(status, json.dumps(fields).encode() + b"\n")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class Release(NamedTuple):
    """What this program is. A release carries VERSION and features.json beside its code."""

    version: str
    instance: str
    features: dict[str, Any]
    directory: Path


def release(program: str) -> Release:
    """Read what lies beside `program`; without, the environment says the version."""
    directory = Path(program).resolve().parent
    version, features = directory / "VERSION", directory / "features.json"
    return Release(
        version.read_text().strip() if version.is_file() else os.environ.get("COCKPIT_VERSION", "dev"),
        os.environ.get("COCKPIT_INSTANCE", ""),
        json.loads(features.read_text()) if features.is_file() else {},
        directory,
    )


def where(about: str, arguments: argparse.ArgumentParser | None = None) -> argparse.Namespace:
    """`address` and `port` to listen on: options, or what Cockpit put into the environment."""
    parser = arguments or argparse.ArgumentParser(description=about)
    env = os.environ
    parser.add_argument("--address", default=env.get("COCKPIT_ADDRESS", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=int(env.get("COCKPIT_PORT_HTTP", "0")), help="0: any")
    return parser.parse_args()


class Server(ThreadingHTTPServer):
    """One thread per connection."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 512

    def __init__(self, at: tuple[str, int], routes: Mapping[str, Route], name: str) -> None:
        self.routes = routes
        self.name = name
        self.stopping = False
        self.open: set[socket.socket] = set()
        self.changed = threading.Condition()
        self.answered = 0
        self.told = time.monotonic()
        super().__init__(at, Handler)

    def server_bind(self) -> None:
        # not HTTPServer's, which asks the name service who we are
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = name, port = self.socket.getsockname()[:2]
        self.server_name, self.server_port = str(name), int(port)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self.changed:
            self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self.changed:
            self.open.discard(request)
            self.changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):  # the client went away: its own business
            complain(traceback.format_exc().rstrip())

    def count(self) -> None:
        """Log now and then how many answers there were."""
        with self.changed:
            self.answered += 1
            now = time.monotonic()
            if now - self.told < TELL:
                return
            say(f"{self.answered} answers in {now - self.told:.0f} s")
            self.answered, self.told = 0, now

    def finish(self) -> int:
        """After `shutdown`: serve what has arrived. Returns how many connections were cut."""
        self.socket.setblocking(False)
        while True:
            try:
                request, address = self.get_request()
            except OSError:
                break
            request.setblocking(True)
            self.process_request(request, address)
        self.server_close()
        with self.changed:
            for connection in self.open:
                try:
                    # what has arrived is still read; a connection that only waits sees its end
                    connection.shutdown(socket.SHUT_RD)
                except OSError:
                    pass
            deadline = time.monotonic() + GRACE
            while self.open and (left := deadline - time.monotonic()) > 0:
                self.changed.wait(left)
            return len(self.open)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE
    disable_nagle_algorithm = True
    wbufsize = 65536
    server: Server

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        route = self.server.routes.get(url.path)
        if route is None:
            answer = as_json(404, error=f"nothing is at {url.path}", paths=sorted(self.server.routes))
        else:
            try:
                answer = route(dict(urllib.parse.parse_qsl(url.query)))
            except Exception:
                complain(traceback.format_exc().rstrip())
                answer = as_json(500, error="internal error, see the log")
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        if self.server.stopping or self.close_connection:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(answer.body)
        self.server.count()

    def version_string(self) -> str:
        return self.server.name

    def log_message(self, format: str, *args: Any) -> None:
        """One line per request would be all that the log holds."""


def run(routes: Mapping[str, Route], address: str, port: int, name: str) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code."""
    # Waited for, not handled: a handler that sets an Event may interrupt the waiting for it half-way
    # through, and then both wait for ever.
    signals = (signal.SIGTERM, signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        server = Server((address, port), routes, name)
    except OSError as e:
        complain(f"{name} cannot listen on {address}:{port}: {e.strerror}")
        return 1
    accepting = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    accepting.start()
    say(f"{name} listens on {server.server_name}:{server.server_port}")
    signal.sigwait(signals)
    server.stopping = True
    time.sleep(LINGER)
    server.shutdown()
    cut = server.finish()
    say(f"{name} ends" + (f", {cut} connections cut" if cut else ""))
    return 0
