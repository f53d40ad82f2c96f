"""Salt, measured beside ours: a master and minions on loopback.

    python -m tests.bench.salt MINIONS [ROUNDS]

Salt is never a dependency: COCKPIT_BENCH_SALT names the `bin` of an environment that has it, else it is looked
for on PATH. Its settings are its own defaults, except where it keeps files, its ports, and that the master takes
every key. A minion is one process per directory (it makes a second one, and one for each job).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.bench.keeper import place, rss
from tests.bench.table import Lacking, median
from tests.bench.terminal import ROOT
from tests.helpers import free_port, running

ROUNDS = 5
READY = 240.0
"""Seconds until every minion must have answered."""
AT_ONCE = 5
"""Minions started together: each takes seconds of CPU."""
TIMEOUT = 60
"""Seconds that Salt waits for answers; it ends when all are there."""


class Salt(NamedTuple):
    """Milliseconds: `ping` and `true` from a client that stays, `cli` and `cli_true` by the command `salt`."""

    minions: int
    ping: list[float]
    true: list[float]
    cli: list[float]
    cli_true: list[float]
    minion: float
    """MiB of RSS that the processes of one minion have, at rest; the median."""


def programs() -> Path:
    """Raises Lacking."""
    named = os.environ.get("COCKPIT_BENCH_SALT")
    found = shutil.which("salt-master", path=named or os.environ.get("PATH"))
    if found is None:
        raise Lacking("needs Salt: COCKPIT_BENCH_SALT=BIN of an environment that has it")
    return Path(found).parent


def below(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                found += [int(p) for p in (task / "children").read_text().split()]
    return found


def resident(pid: int) -> float:
    """MiB of RSS of a process and all that it started; a job may end meanwhile."""
    total = 0.0
    for each in below(pid):
        with contextlib.suppress(OSError):
            total += rss(each)
    return total


def config(path: Path, **settings: object) -> Path:
    """A directory with that file; Salt reads YAML, of which JSON is a part."""
    path.parent.mkdir(parents=True)
    common = {"root_dir": str(path.parent), "user": "root", "log_level": "error", "log_level_logfile": "quiet"}
    path.write_text(json.dumps(common | settings))
    return path.parent


@contextlib.contextmanager
def minions(bin: Path, where: Path, count: int) -> Iterator[tuple[Path, list[subprocess.Popen[bytes]]]]:
    """The master's directory of settings, and the minions; all have answered."""
    ports = {"publish_port": free_port("127.0.0.1"), "ret_port": free_port("127.0.0.1")}
    master = config(
        where / "m" / "master", interface="127.0.0.1", auto_accept=True, timeout=TIMEOUT, **ports,
    )  # fmt: skip
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((where / "log").open("wb"))
        said = {"stdout": log, "stderr": log, "cwd": ROOT}
        stack.enter_context(running([str(bin / "salt-master"), "-c", str(master)], 30, **said))
        made: list[subprocess.Popen[bytes]] = []
        stack.callback(_end, made)
        for n in range(count):
            directory = config(
                where / str(n) / "minion", master="127.0.0.1", master_port=ports["ret_port"], id=f"n{n}",
                publish_port=ports["publish_port"], acceptance_wait_time=2, mine_enabled=False,
            )  # fmt: skip
            made.append(subprocess.Popen([str(bin / "salt-minion"), "-c", str(directory)], **said))  # type: ignore[call-overload]
            if n % AT_ONCE == AT_ONCE - 1 or n == count - 1:
                _answered(bin, master, n + 1, where)
        yield master, made


def _answered(bin: Path, master: Path, count: int, where: Path) -> None:
    keys = master / "etc" / "salt" / "pki" / "master" / "minions"
    deadline = time.monotonic() + READY
    while not keys.is_dir() or len(list(keys.iterdir())) < count:
        if time.monotonic() > deadline:
            raise AssertionError(f"{count} minions are not known: {(where / 'log').read_text()[-2000:]}")
        time.sleep(0.2)


def _end(made: list[subprocess.Popen[bytes]]) -> None:
    for process in made:
        process.terminate()
    for process in made:
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            for pid in below(process.pid)[::-1]:
                os.kill(pid, 9)
            process.wait()


def cli(bin: Path, master: Path, *words: str) -> tuple[float, int]:
    """(milliseconds, answers)"""
    start = time.perf_counter()
    argv = [str(bin / "salt"), "-c", str(master), "--out=json", "--static", "*", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    took = (time.perf_counter() - start) * 1e3
    text = done.stdout[done.stdout.find("{") :]
    answers = json.loads(text) if text else {}
    return took, sum(1 for a in answers.values() if a is True or a == "")


def measure(count: int, rounds: int = ROUNDS) -> Salt:
    """Raises Lacking where Salt is not installed."""
    bin = programs()
    with place() as where, minions(bin, where, count) as (master, made):
        deadline = time.monotonic() + READY
        while cli(bin, master, "test.ping")[1] < count:
            if time.monotonic() > deadline:
                raise AssertionError(f"not all minions answer: {(where / 'log').read_text()[-2000:]}")
        argv = [str(bin / "python"), "-I", str(Path(__file__).with_name("salt_program.py")), str(master / "master")]
        client = subprocess.run(
            [*argv, str(count), str(rounds)], stdout=subprocess.PIPE, text=True, check=True, stdin=subprocess.DEVNULL
        )
        inside = json.loads(client.stdout.splitlines()[-1])
        runs = [cli(bin, master, "test.ping") for _ in range(rounds)]
        trues = [cli(bin, master, "cmd.run", "/bin/true") for _ in range(rounds)]
        assert all(n == count for _, n in runs + trues), f"some did not answer: {runs} {trues}"
        memory = [resident(m.pid) for m in made]
    return Salt(count, inside["ping"], inside["true"], [t for t, _ in runs], [t for t, _ in trues], median(memory))


def main(count: int, rounds: int = ROUNDS) -> None:
    found = measure(count, rounds)
    for name in ("ping", "true", "cli", "cli_true"):
        runs = getattr(found, name)
        print(f"{count:>4} minions {name:8} {median(runs):8.0f} ms  (min {min(runs):.0f}, max {max(runs):.0f})")
    print(f"{count:>4} minions memory   {found.minion:8.0f} MiB each; load {os.getloadavg()[0]:.1f}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
