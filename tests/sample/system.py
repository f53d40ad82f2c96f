"""Releases of the sample as real processes, started the way an agent starts them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cockpit.sample.build import write
from tests.helpers import PATIENCE, answers, free_port, loopback, running, wait_for


class Program:
    """One running instance."""

    def __init__(
        self, name: str, address: str, port: int, process: subprocess.Popen[bytes], log: Path
    ) -> None:
        self.name = name
        self.address = address
        self.port = port
        self.process = process
        self.log = log

    def get(self, path: str, **query: str) -> tuple[int, Any]:
        """Status, and the body: JSON, or text when it is HTML."""
        connection = http.client.HTTPConnection(self.address, self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("GET", f"{path}?{urllib.parse.urlencode(query)}" if query else path)
            response = connection.getresponse()
            body = response.read()
            text = response.headers.get_content_type() == "text/html"
            return response.status, body.decode() if text else json.loads(body)

    def endpoint(self, state: str = "ready") -> dict[str, Any]:
        return {
            "address": self.address, "port": self.port, "name": "http", "state": state,
            "instance": f"puzzle.{self.name}/0", "attributes": {},
        }  # fmt: skip


@contextlib.contextmanager
def program(
    directory: Path, name: str, version: str, slot: int = 0, *, env: Mapping[str, str] | None = None
) -> Iterator[Program]:
    """`python3 NAME.py` in a fresh release directory, until the `with` block ends."""
    address = loopback()
    port = free_port(address)
    release = directory / f"{name}-{version}-{slot}"
    release.mkdir(parents=True)
    write(release, name, version)
    serve = release / "serve.py"
    serve.write_text(re.sub(r"(?m)^GRACE = .*", f"GRACE = {PATIENCE}", serve.read_text()))
    log = release / "log"
    environment = {
        "PATH": os.environ["PATH"], "COCKPIT_ADDRESS": address, "COCKPIT_PORT_HTTP": str(port),
        "COCKPIT_VERSION": version, "COCKPIT_INSTANCE": f"puzzle.{name}/{slot}", **(env or {}),
    }  # fmt: skip
    with log.open("wb") as out:
        argv = [sys.executable, "-S", f"{name}.py"]
        with running(argv, cwd=release, env=environment, stdout=out, stderr=out) as process:
            wait_for(lambda: answers(address, port) or process.poll() is not None, what=f"{name} listens")
            assert process.poll() is None, log.read_text()
            yield Program(name, address, port, process, log)


def publish(path: Path, **services: list[Program]) -> None:
    """Write the disk cache of an agent that is away."""
    endpoints = {f"puzzle.{name}": [p.endpoint() for p in programs] for name, programs in services.items()}
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"version": 1, "services": endpoints}))
    new.rename(path)
