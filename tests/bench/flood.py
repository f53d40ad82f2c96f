"""A flood of log lines, and the keys of the screen that shows it.

    python -m tests.bench.flood STATE INSTANCE [LINES/s]

STATE is a running controller's (`cockpit demo --serve`). Appends to the newest log file of the instance, as the
service does, shows its log in the real app, presses keys. Prints latencies, and memory of agents, controller, screen.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cockpit.session.client import RemoteSession
from screens.app import CockpitApp
from tests.screens.drive import Driver

WRITER = """
import os, sys, time
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
rate, begun, n = int(sys.argv[2]), time.monotonic(), 0
while True:
    text = b"%09d something went by, and it was worth a line of about a hundred bytes, as most are xx\\n"
    block = b"".join(text % i for i in range(n, n + rate // 20))
    n += rate // 20
    os.write(fd, block)
    time.sleep(max(0, begun + n / rate - time.monotonic()))
"""
SECONDS = 15.0


def rss(pid: int) -> float:
    """MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def processes(state: Path) -> dict[str, int]:
    found = {"controller": int((state / "controller.lock").read_text().split()[0])}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if "cockpit.agent" in words and any(str(state) in w for w in words):
                found[f"agent {Path(next(w for w in words if str(state) in w)).name}"] = int(entry.name)
    return found


async def main(state: Path, instance: str, rate: int) -> None:
    session = RemoteSession(state / "control.sock")
    snapshot = await session.snapshot()
    host = snapshot.instances[instance].host
    logs = state.with_name(state.name + ".hosts") / host / "logs"
    file = max(logs.glob(instance.replace("/", "_") + "_*/*.main.out"), key=lambda p: p.stat().st_mtime)
    before = {name: rss(pid) for name, pid in processes(state).items()}
    app = CockpitApp(session, address=f"logs {instance}")
    async with app.run_test(size=(120, 40)) as pilot:
        driver = Driver(app, pilot, session)  # type: ignore[arg-type]
        await driver.at("LogsScreen")
        screen: Any = app.screen
        own = rss(os.getpid())
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(file), str(rate)])
        took: list[tuple[float, str]] = []
        cpu: list[tuple[float, str]] = []
        peak = dict(before)
        size, begun, lines = file.stat().st_size, time.monotonic(), 0
        try:
            while time.monotonic() - begun < SECONDS:
                for key in ("up", "pagedown", "f", "t", "w", "slash", "w", "1", "enter", "n", "end"):
                    began, worked = time.monotonic(), time.process_time()
                    await driver.press(key)
                    took.append((time.monotonic() - began, key))
                    cpu.append((time.process_time() - worked, key))
                    await asyncio.sleep(0.02)
                for name, pid in processes(state).items():
                    peak[name] = max(peak.get(name, 0.0), rss(pid))
            written = (file.stat().st_size - size) / 95 / (time.monotonic() - begun)
            lines = next(screen.log_list._numbers)
        finally:
            writer.kill()
            writer.wait()
        print(f"written  {written:,.0f} lines/s; {lines / SECONDS:,.0f} lines/s reached the screen, "
              f"{screen.dropped:,} dropped and counted")
        for name, all in (("keys    ", took), ("cpu     ", cpu)):  # the second: without waiting for a processor
            all.sort()
            middle, late, last = all[len(all) // 2], all[len(all) * 99 // 100], all[-1]
            print(f"{name} p50 {middle[0] * 1000:.1f} ms, p99 {late[0] * 1000:.1f} ms, "
                  f"longest {last[0] * 1000:.1f} ms ({last[1]}) of {len(all)}")
        print(f"memory   screen {own:.0f} -> {rss(os.getpid()):.0f} MiB")
        for name in ("controller", f"agent {host}"):
            print(f"         {name} {before.get(name, 0):.0f} -> {peak.get(name, 0):.0f} MiB at most")
    await session.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 200_000))
