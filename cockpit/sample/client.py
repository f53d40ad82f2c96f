"""A load client that asks `web` all the time and proves that no answer failed.

    python -m cockpit.sample.client --names HOST_DIR/agent.sock --seconds 30

Each request picks one endpoint and counts as failed when that one does not give the right
solution: nothing is asked twice. Ends at SIGINT, SIGTERM or after --seconds with one JSON object on
standard output; exit code 0 when there were answers and none failed, else 1.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import http.client
import json
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from cockpit.naming.client import Endpoint, Names, Unresolved
from cockpit.sample import solver

KEPT = 20
"""So many failures are described."""
At = tuple[str, int]


class Finds(Protocol):
    def pick(self, name: str) -> At: ...


class StatusFile:
    """Endpoints from the output of `cockpit status --json`, read again when the file changes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int] = (0, 0)
        self._endpoints: list[Endpoint] = []
        self._lock = threading.Lock()

    def pick(self, name: str) -> At:
        """Raises Unresolved when none is ready."""
        with self._lock:
            stat = self.path.stat()
            if (stat.st_ino, stat.st_mtime_ns) != self._seen:
                self._endpoints = list(json.loads(self.path.read_bytes())["endpoints"])
                self._seen = (stat.st_ino, stat.st_mtime_ns)
            ready = [
                (str(e["address"]), int(e["port"]))
                for e in self._endpoints
                if e["state"] == "ready" and (e["service"] == name or e["service"].endswith(f".{name}"))
            ]
        if not ready:
            raise Unresolved(f"{name}: {self.path} has no ready endpoint")
        return random.choice(ready)


def puzzles(count: int, seed: int = 1) -> list[str]:
    """Puzzles that have a solution: shuffled full grids with cells taken out."""
    chance = random.Random(seed)
    made = []
    for _ in range(count):
        rows, columns = (
            [band * 3 + line for band in chance.sample(range(3), 3) for line in chance.sample(range(3), 3)]
            for _ in range(2)
        )
        digits = chance.sample("123456789", 9)
        grid = [digits[(r * 3 + r // 3 + c) % 9] for r in rows for c in columns]
        for cell in chance.sample(range(81), chance.randrange(35, 56)):
            grid[cell] = "0"
        made.append("".join(grid))
    return made


class Load:
    """The counts of all threads."""

    def __init__(
        self, finds: Finds, service: str, *, keep_alive: bool = False, timeout: float = 10.0
    ) -> None:
        self.finds = finds
        self.service = service
        self.keep_alive = keep_alive
        self.timeout = timeout
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self._times: list[float] = []
        self.failed = 0
        self._failures: list[dict[str, Any]] = []
        self._web: collections.Counter[str] = collections.Counter()
        self._sudoku: collections.Counter[str] = collections.Counter()
        self._instances: collections.Counter[str] = collections.Counter()

    def run(self, threads: int, until: Callable[[], object], rate: float | None = None) -> dict[str, Any]:
        """Ask from so many threads until `until` returns; the summary.

        `rate` bounds the requests per second of all threads together.
        """
        began = time.monotonic()
        pause = threads / rate if rate else 0.0
        workers = []
        for n in range(threads):
            workers.append(threading.Thread(target=self._work, args=(n, pause), daemon=True))
            workers[-1].start()
        until()
        self.stop.set()
        for worker in workers:
            worker.join(self.timeout + 1)
        return self._summary(time.monotonic() - began)

    def _work(self, seed: int, pause: float) -> None:
        asks = puzzles(20, seed)
        kept: dict[At, http.client.HTTPConnection] = {}
        n = 0
        while not self.stop.is_set():
            began = time.monotonic()
            self._one(asks[n % len(asks)], kept)
            n += 1
            if pause:
                self.stop.wait(max(0.0, began + pause - time.monotonic()))
        for connection in kept.values():
            connection.close()

    def _one(self, puzzle: str, kept: dict[At, http.client.HTTPConnection]) -> None:
        began = time.monotonic()
        at: At | None = None
        try:
            at = self.finds.pick(self.service)
            answer = self._ask(at, puzzle, kept)
            if not solver.is_solution(puzzle, str(answer.get("solution", ""))):
                raise ValueError(f"wrong solution: {json.dumps(answer)[:200]}")
        except (OSError, http.client.HTTPException, ValueError, LookupError) as e:
            if at is not None and at in kept:
                kept.pop(at).close()
            self._fail(at, f"{type(e).__name__}: {e}", puzzle)
            if at is None:
                self.stop.wait(0.05)  # nobody to ask: do not count that a thousand times a second
            return
        sudoku = answer.get("sudoku") or {}
        with self._lock:
            self._times.append(time.monotonic() - began)
            self._web[str(answer.get("version"))] += 1
            self._sudoku[str(sudoku.get("version"))] += 1
            self._instances[str(answer.get("instance"))] += 1
            self._instances[str(sudoku.get("instance"))] += 1

    def _ask(self, at: At, puzzle: str, kept: dict[At, http.client.HTTPConnection]) -> dict[str, Any]:
        connection = kept.get(at) or http.client.HTTPConnection(*at, timeout=self.timeout)
        try:
            headers = {} if self.keep_alive else {"Connection": "close"}
            connection.request("GET", f"/solve?puzzle={puzzle}", headers=headers)
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                raise ValueError(f"status {response.status}: {body[:200].decode(errors='replace')}")
            answer = json.loads(body)
            if not isinstance(answer, dict):
                raise ValueError("not a JSON object")
            if self.keep_alive and not response.will_close:
                kept[at] = connection
            else:
                kept.pop(at, None)
            return answer
        finally:
            if kept.get(at) is not connection:
                connection.close()

    def _fail(self, at: At | None, why: str, puzzle: str) -> None:
        with self._lock:
            self.failed += 1
            if len(self._failures) < KEPT:
                endpoint = f"{at[0]}:{at[1]}" if at else ""
                failure = {"at": time.time(), "endpoint": endpoint, "why": why, "puzzle": puzzle}
                self._failures.append(failure)

    def _summary(self, seconds: float) -> dict[str, Any]:
        with self._lock:
            times = sorted(self._times)

            def ms(share: float) -> float | None:
                n = min(len(times) - 1, int(share * len(times)))
                return round(times[n] * 1000, 2) if times else None

            return {
                "answers": len(times), "failed": self.failed, "seconds": round(seconds, 2),
                "rate": round(len(times) / seconds, 1) if seconds else 0.0,
                "latency_ms": {"p50": ms(0.5), "p99": ms(0.99), "max": ms(1.0)},
                "web_versions": dict(self._web), "sudoku_versions": dict(self._sudoku),
                "instances": dict(sorted(self._instances.items())), "failures": self._failures,
            }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m cockpit.sample.client",
        description="Ask `web` all the time and count failed answers.",
        epilog="example: python -m cockpit.sample.client --names hosts/bj-1/agent.sock --seconds 30",
    )  # fmt: skip
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--names", metavar="SOCKET", help="an agent's socket: endpoints follow at once")
    source.add_argument("--status", metavar="FILE", type=Path, help="output of `cockpit status --json`")
    parser.add_argument("--service", default="web", help="name of the service to ask (web)")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=None, help="end after so long (until a signal)")
    parser.add_argument("--rate", type=float, default=None, help="at most so many requests a second")
    parser.add_argument("--keep-alive", action="store_true", help="use connections again")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds for one answer (10)")
    options = parser.parse_args(argv)
    signals = (signal.SIGINT, signal.SIGTERM)

    def end() -> None:
        if options.seconds is None:
            signal.sigwait(signals)
        else:
            signal.sigtimedwait(signals, options.seconds)

    with contextlib.ExitStack() as stack:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        stack.callback(signal.pthread_sigmask, signal.SIG_SETMASK, before)
        finds: Finds
        if options.names:
            finds = stack.enter_context(Names(options.names, ""))
        else:
            finds = StatusFile(options.status)
        load = Load(finds, options.service, keep_alive=options.keep_alive, timeout=options.timeout)
        summary = load.run(options.threads, end, options.rate)
    sys.stdout.write(json.dumps(summary) + "\n")
    sys.stdout.flush()
    return 0 if summary["answers"] and not summary["failed"] else 1


if __name__ == "__main__":
    sys.exit(main())
