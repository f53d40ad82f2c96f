"""The lab itself: what it cuts is cut, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.netlab import Lab, possible

pytestmark = pytest.mark.skipif(not possible(), reason="namespaces need root")

DIAL = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 7), 0.4).close()
    print("open")
except OSError as e:
    print(type(e).__name__)
"""
LISTEN = """
import socket
s = socket.create_server(("0.0.0.0", 7))
print("ready", flush=True)
while True:
    s.accept()[0].close()
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab()
    try:
        yield made
    finally:
        made.close()


def dial(lab: Lab, name: str, address: str) -> str:
    argv = lab.argv(name, sys.executable, "-c", DIAL, address)
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def listen(lab: Lab, name: str) -> None:
    """Until the lab closes."""
    argv = lab.argv(name, sys.executable, "-c", LISTEN)
    process = subprocess.Popen(argv, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    process.stdout.close()


def test_networks_cuts_and_resets(lab: Lab) -> None:
    left, right = lab.switch("l", "198.19.1"), lab.switch("r", "198.19.2")
    for name, switch in (("a", left), ("m", left), ("z", right)):
        lab.host(name, switch)
    inner = lab.plug("m", "eth1", right)
    place = lab.places
    listen(lab, "m")
    assert dial(lab, "a", place["m"].address) == dial(lab, "z", inner) == "open"
    assert dial(lab, "a", inner) != "open"  # nothing is forwarded between two networks
    lab.cut("m", out=False, peer=place["a"].address)
    assert dial(lab, "a", place["m"].address) == "TimeoutError"
    assert dial(lab, "z", inner) == "open"
    lab.mend("m")
    assert dial(lab, "a", place["m"].address) == "open"
    lab.cut("a", into=False)
    assert dial(lab, "a", place["m"].address) != "open"
    lab.mend("a")
    lab.reset("a", 7)
    assert dial(lab, "a", place["m"].address) == "ConnectionRefusedError"
    lab.mend("a")
    lab.slow("a", 1)
    lab.slow("a", 0)
    assert dial(lab, "a", place["m"].address) == "open"
