"""A flood of log lines, and the keys of the screen that shows it.

    python -m tests.bench.flood
    python -m tests.bench.flood STATE INSTANCE [LINES/s]

Without words: three real services on two real hosts print 50 MB/s each, `cockpit attach` follows all of them on a
pseudo-terminal, letters are typed into its field; each is timed until it is drawn. Beside it another session asks the
controller something, again and again.

STATE is a running controller's (`cockpit demo --serve`). Appends to the newest log file of the instance, as the
service does, shows its log in the real app, presses keys. Prints latencies, and memory of agents, controller, screen.
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from cockpit.session.client import RemoteSession
from screens.app import CockpitApp
from tests.bench.live import p99
from tests.bench.table import Figure, measures, median
from tests.bench.terminal import Terminal, terminal
from tests.e2e.cluster import cluster
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
PRINTER = """
import os, sys, time
while not os.path.exists(sys.argv[1]):
    time.sleep(0.05)
rate, begun, sent = 50e6, time.monotonic(), 0
text = b"".join(b"%09d something went by, and it was worth a line of about a hundred bytes, as most are xx\\n" % i
                for i in range(5000))
while os.path.exists(sys.argv[1]):
    sent += os.write(1, text)
    time.sleep(max(0, begun + sent / rate - time.monotonic()))
time.sleep(100000)
"""
TOPOLOGY = f"""
cockpit: 1
name: flood
regions: {{r: {{}}}}
hosts:
  f-1: {{region: r, address: 127.0.39.1, connection: local}}
  f-2: {{region: r, address: 127.0.39.2, connection: local}}
tree:
  loud:
    command: [{sys.executable}, -S, "@ROOT@/printer.py", "@ROOT@/go"]
    version: "1"
    instances: 3
"""
LETTERS = "αβγδεζηθικλμνξοπρστυφχψω"
"""No line has them, so that what is drawn of them was typed."""
TIMES = 10
LATE = 20.0


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


class Flood(NamedTuple):
    keys: list[float]
    """Milliseconds."""
    asked: list[float]
    """Milliseconds of another session's question to the controller."""
    dropped: str
    written: float
    """MB/s, all three together."""
    cpu: dict[str, float]
    """% of a core, of controller, screen and agents."""


async def _ask(state: Path, over: threading.Event, took: list[float]) -> None:
    session = RemoteSession(state / "control.sock")
    await session.connect()
    while not over.is_set():
        began = time.perf_counter()
        await session.call("who")
        took.append(1e3 * (time.perf_counter() - began))
        await asyncio.sleep(0.05)
    await session.close()


def used(pid: int) -> float:
    """Seconds of CPU so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def typed(screen: Terminal) -> list[float]:
    """Milliseconds from each letter to its last byte on the terminal."""
    took = []
    for _ in range(TIMES):
        os.write(screen.fd, b"/")
        time.sleep(0.3)
        for letter in LETTERS:
            before, began = screen.total, time.perf_counter()
            os.write(screen.fd, letter.encode())
            screen.holds(letter.encode(), before, LATE)
            took.append(1e3 * (screen.last - began))
            time.sleep(0.03)
        os.write(screen.fd, b"\x1b")
        time.sleep(0.3)
    return took


def flood() -> Flood:
    with cluster(TOPOLOGY) as c:
        (c.root / "printer.py").write_text(PRINTER)
        c.wait_calm(60)
        words = ["-m", "cockpit.cli.main", "attach", "--state", str(c.state)]
        with terminal(words, XDG_STATE_HOME=str(c.root / "home")) as screen:
            screen.wait("NEEDS YOU")
            os.write(screen.fd, b":logs loud\r")
            screen.wait("LOG")
            screen.keep = 2**17
            (c.root / "go").touch()
            began, over, asked = time.monotonic(), threading.Event(), []
            screen.wait("something went by")
            pids = {**processes(c.state), "screen": screen.process.pid}
            before = {name: used(pid) for name, pid in pids.items()}
            asking = threading.Thread(target=lambda: asyncio.run(_ask(c.state, over, asked)))
            asking.start()
            try:
                since = time.monotonic()
                keys = typed(screen)
                spent = time.monotonic() - since
                cpu = {name: 100 * (used(pid) - before[name]) / spent for name, pid in pids.items()}
            finally:
                over.set()
                asking.join()
            seconds = time.monotonic() - began
            written = sum(p.stat().st_size for p in c.hosts.glob("*/logs/loud_*/*.main.out")) / 1e6 / seconds
            (c.root / "go").unlink()
            screen.quiet(1.0, 60)
            screen.seen = b""
            os.write(screen.fd, b"\x0c")  # everything anew
            screen.quiet(0.5)
            found = re.search(rb"([\d,]+) dropped", screen.seen)
        return Flood(keys, asked, found[1].decode() if found else "?", written, cpu)


@measures("flood", needs=["cockpit.agent.follow", "screens.logs"])
def key_in_a_flood() -> Figure:
    found = flood()
    busy = ", ".join(f"{name} {value:.0f}" for name, value in sorted(found.cpu.items()))
    note = (
        f"{len(found.keys)} letters, median {median(found.keys):.0f}, at most {max(found.keys):.0f}; "
        f"{found.written:.0f} MB/s printed, {found.dropped} lines dropped and counted; another session's question "
        f"p99 {p99(found.asked):.0f}; % of a core: {busy}; load {os.getloadavg()[0]:.1f}"
    )
    return Figure(p99(found.keys), note=note)


if __name__ == "__main__" and len(sys.argv) == 1:
    print(key_in_a_flood())
elif __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 200_000))
