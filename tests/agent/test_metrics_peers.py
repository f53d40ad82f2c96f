"""Whom a process is connected to, from what the kernel shows."""

from __future__ import annotations

import os
import socket

import pytest

from cockpit.agent.shipped.metrics.peers import called, look, place, sockets
from tests.helpers import loopback


@pytest.mark.parametrize(("text", "expected"), [
    (b"0100007F:1F90", ("127.0.0.1", 8080)),
    (b"0000000000000000FFFF00000100007F:0050", ("127.0.0.1", 80)),
    (b"00000000000000000000000001000000:0001", ("::1", 1)),
])  # fmt: skip
def test_places(text: bytes, expected: tuple[str, int]) -> None:
    assert place(text) == expected


def test_connections_that_came_in_are_nobodys_calls() -> None:
    ours = ("127.0.0.1", 80)
    held = [
        (b"0A", ours, ("0.0.0.0", 0)), (b"01", ours, ("10.0.0.9", 50000)),
        (b"01", ("127.0.0.1", 40000), ("10.0.0.1", 6379)), (b"01", ("127.0.0.1", 40001), ("10.0.0.1", 6379)),
    ]  # fmt: skip
    assert called(held) == {("10.0.0.1", 6379): 2}


def test_lines_that_are_none_are_left_out() -> None:
    assert list(sockets([b"", b"  sl  local_address", b"0: 0100007F:1F90 0100007F:1F91 06 0 0 0 0 0 5"])) == []


def test_a_real_process() -> None:
    address = loopback()
    with socket.create_server((address, 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        with accepted:
            pids = {"shop.web/0:1": os.getpid(), "shop.web/1:1": 1 << 22}
            seen = look({unit: {"pids": {"main": pid}} for unit, pid in pids.items()})
        assert [address, server.getsockname()[1], 1] in seen["shop.web/0:1"]
        assert client.getsockname()[1] not in [port for _, port, _ in seen["shop.web/0:1"]]
    assert seen["shop.web/1:1"] == []
