"""A real keeper in a directory of its own, for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from cockpit.agent import keeper as package
from cockpit.agent.keeper_client import KeeperClient
from tests.helpers import alive, wait_for

KEEPER = os.path.dirname(package.__file__)
ENV = {"PATH": os.environ.get("PATH", os.defpath)}
Doc = dict[str, Any]


class KeeperHost:
    """Starts and kills keepers in one directory. Leaves no process behind."""

    def __init__(self, directory: Path) -> None:
        self.dir = directory
        self.keeper: subprocess.Popen[bytes] | None = None
        self._clients: list[KeeperClient] = []

    def __enter__(self) -> KeeperHost:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            client.close()
        if self.keeper is not None:
            self.keeper.kill()
            self.keeper.wait()
        while marked := self.marked():
            for pid in marked:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            wait_for(lambda: not any(alive(pid) for pid in marked))

    def up(self, boot: str = "") -> KeeperClient:
        """Starts a keeper; the connection has subscribed."""
        argv = [sys.executable, "-I", "-S", KEEPER, str(self.dir), *(["--boot-id", boot] if boot else [])]
        keeper = self.keeper = subprocess.Popen(argv)

        def answered() -> KeeperClient | None:
            assert keeper.poll() is None, f"the keeper went with {keeper.returncode}"
            try:
                client = KeeperClient(self.dir, 15.0)
                self._clients.append(client)
                client.call("subscribe")
            except (FileNotFoundError, ConnectionError):  # perhaps the last one's, that is just going
                return None
            return client

        client = wait_for(answered)
        assert client is not None
        return client

    def connect(self) -> KeeperClient:
        client = KeeperClient(self.dir, 15.0)
        self._clients.append(client)
        return client

    def crash(self) -> None:
        """kill -9 of the keeper, and only of it."""
        assert self.keeper is not None
        self.keeper.kill()
        self.keeper.wait()

    def marked(self) -> list[int]:
        """Living processes that this directory's keepers started."""
        try:
            id = (self.dir / "keeper" / "id").read_bytes().strip()
        except FileNotFoundError:
            return []
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    with open(f"/proc/{entry}/environ", "rb") as f:
                        mine = b"COCKPIT_KEEPER=" + id in f.read()
                except OSError:
                    continue
                if mine and alive(int(entry)):
                    found.append(int(entry))
        return found

    def spec(self, unit: str, *argv: str, **fields: Any) -> Doc:
        """A unit of one process: a shell script when there is one argument, else an argv."""
        process = {"name": "main", "argv": sh(*argv), "env": ENV, "cwd": str(self.dir)}
        return {"unit": unit, "processes": [process], "stop": {"grace": 5}, **fields}

    def group(self, unit: str, **scripts: str) -> Doc:
        processes = [
            {"name": n, "argv": sh(s), "env": ENV, "cwd": str(self.dir)} for n, s in scripts.items()
        ]
        return {"unit": unit, "processes": processes, "stop": {"grace": 5}}

    def log(self, unit: str, run: int, stream: str = "out", process: str = "main") -> str:
        flat = unit.replace("/", "_").replace(":", "_")
        return (self.dir / "logs" / flat / f"{run}.{process}.{stream}").read_text()


def sh(*argv: str) -> list[str]:
    return ["/bin/sh", "-c", argv[0]] if len(argv) == 1 else list(argv)


def of(kind: str, unit: str = "") -> Any:
    """A condition for `KeeperClient.event`."""
    return lambda e: e["event"] == kind and unit in ("", e.get("unit"))


def put_start(client: KeeperClient, spec: Doc) -> Doc:
    client.call("put", spec=spec)
    return client.call("start", unit=spec["unit"], by="test")
