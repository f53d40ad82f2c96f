"""A real S3-speaking server on loopback, for tests of object storage."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator

from tests.helpers import PATIENCE

READY = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")
START_LIMIT = 60.0
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "cockpit-tests", "AWS_SECRET_ACCESS_KEY": "not-a-secret-3f9c"}


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """Its URL. Everything it holds goes with it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", "HOME": "/nonexistent"},
    )  # fmt: skip
    late = threading.Timer(START_LIMIT, process.kill)
    late.start()
    drain: threading.Thread | None = None
    try:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if found := READY.search(line):
                drain = threading.Thread(target=process.stderr.read, daemon=True)  # it says a line for each request
                drain.start()
                late.cancel()
                yield found[1]
                return
        raise AssertionError(f"the S3 server did not start: {said}")
    finally:
        late.cancel()
        process.terminate()
        process.wait(PATIENCE)
        if drain is not None:
            drain.join(PATIENCE)
