"""A client on a host: asks what the agent's socket says is ready, all the time, and writes down what failed.

    python -m tests.faults.load SOCKET CACHE SERVICE HOST FILE PER-SECOND

Each request is one try at one endpoint. Lines: `{"n": so many answers}` now and then, and one for each failure.
"""

from __future__ import annotations

import http.client
import json
import signal
import sys
import time
from typing import Any

from cockpit.naming.client import Names, Unresolved

TIMEOUT = 10.0


def main() -> int:
    socket, cache, service, host, file, rate = sys.argv[1:]
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))
    asked = 0
    with Names(socket, cache) as names, open(file, "a", buffering=1) as out:
        asked += _warm(names, service, stop)
        while not stop:
            began, beat = time.time(), time.monotonic()
            asked += 1
            failure = _ask(names, service)
            if failure is not None:
                out.write(json.dumps({"host": host, "begin": began, "end": time.time(), **failure}) + "\n")
            if asked % 50 == 0:
                out.write(json.dumps({"n": 50}) + "\n")
            time.sleep(max(0.0, beat + 1 / float(rate) - time.monotonic()))
        out.write(json.dumps({"n": asked % 50}) + "\n")
    return 0


def _warm(names: Names, service: str, stop: list[int]) -> int:
    """Before the first endpoint was ever ready there is nothing to lose."""
    while not stop:
        try:
            names.pick(service)
            return 0
        except Unresolved:
            time.sleep(0.05)
    return 0


def _ask(names: Names, service: str) -> dict[str, Any] | None:
    """What failed; None: nothing."""
    instance = ""
    try:
        address, port = names.pick(service)
        known = [e for e in names.resolve(service) if (e["address"], e["port"]) == (address, port)]
        instance = str(known[0]["instance"]) if known else f"{address}:{port}"
        connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT)
        try:
            connection.request("GET", "/", headers={"Connection": "close"})
            answer = connection.getresponse()
            body = answer.read().decode()
        finally:
            connection.close()
        if answer.status != 200 or not body:
            return {"instance": instance, "why": f"status {answer.status} {body[:100]!r}"}
        if known and body != instance:
            return {"instance": instance, "why": f"{body} answered in its place"}
    except (OSError, http.client.HTTPException, LookupError) as e:
        return {"instance": instance, "why": f"{type(e).__name__}: {e}"}
    return None


if __name__ == "__main__":
    sys.exit(main())
