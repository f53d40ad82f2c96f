"""`python -I -m backends.ssh --dir DIR --fd N`: started by the controller, which has the other end."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import socket
import sys

from backends.ssh.gateway import Gateway, set_up
from backends.ssh.reach import Settings


def main(args: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="backends.ssh", description=__doc__)
    parser.add_argument("--dir", required=True, help="directory with ssh.json, if there is one")
    parser.add_argument("--fd", type=int, required=True, help="the inherited socket")
    given = parser.parse_args(args)
    logging.getLogger("asyncssh").setLevel(logging.CRITICAL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the controller's terminal is not ours
    try:
        settings = set_up(given.dir)
    except (OSError, ValueError, AttributeError) as e:
        sys.stderr.write(f"{given.dir}/ssh.json: {e}\n")
        return 1
    asyncio.run(_run(settings, given.fd))
    return 0


async def _run(settings: Settings, fd: int) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    try:
        await Gateway(settings).run(sock)
    except asyncio.CancelledError:
        pass


if __name__ == "__main__":
    sys.exit(main())
