"""Sends everybody what nobody wants: `python -m tests.faults.garbage SEED HOST:PORT...` until SIGTERM."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import ssl
import struct
import sys
import time


def made(chance: random.Random) -> bytes:
    """Noise, requests cut short or without end, lengths that lie."""
    noise = chance.randbytes(chance.randrange(1, 4000))
    frame = json.dumps({"t": chance.choice(["hello", "full", "cmd", "relay", "up"]), "host": "h1"}).encode()
    return chance.choice([
        noise,
        b"GET /link HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n" + noise,
        b"POST /poll HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n" + frame,
        b"POST /join HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{\"token\":\"COCKPIT1-x\"",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + noise,
        struct.pack(">I", 0xFFFFFFFF) + frame,
        b"X" * 70_000,
    ])  # fmt: skip


def one(chance: random.Random, place: tuple[str, int], context: ssl.SSLContext) -> None:
    with contextlib.suppress(OSError, ValueError):
        with socket.create_connection(place, 1) as plain:
            plain.settimeout(1)
            if chance.random() < 0.4:
                plain.sendall(made(chance))
                plain.recv(100)
                return
            with context.wrap_socket(plain, server_hostname="x") as wrapped:
                wrapped.sendall(made(chance))
                wrapped.recv(100)


def main() -> int:
    chance = random.Random(int(sys.argv[1]))
    places = [(p.rpartition(":")[0], int(p.rpartition(":")[2])) for p in sys.argv[2:]]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    parent = os.getppid()
    while os.getppid() == parent:
        one(chance, chance.choice(places), context)
        time.sleep(0.1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
