"""The shipped plug-in `shell` on a real agent, with real terminals."""

from __future__ import annotations

import base64
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.agent.fake import AgentProcess, FakeController
from tests.helpers import alive, until

WINDOW = 64 * 1024


class Shell:
    """What a controller does for a person: credit for what was shown, and keys."""

    def __init__(self, controller: FakeController, task: str, *, crediting: bool = True) -> None:
        self.c = controller
        self.task = task
        self.crediting = crediting
        self._seen = 0
        self._out = bytearray()
        self.err = bytearray()
        self.took = 0
        self.begun: dict[str, Any] = {}

    async def open(self, *argv: str, **args: Any) -> Shell:
        given = {"task": self.task, "instance": "", "argv": list(argv), "tty": True, "rows": 30, "cols": 90,
                 "term": "xterm", "credit": WINDOW, "idle": 60.0, "timeout": 60.0, **args}  # fmt: skip
        await self.c.send({
            "t": "cmd", "task": self.task, "uuid": self.c.hellos[-1][1], "word": "shell", "args": given,
        })  # fmt: skip
        await until(self.look, what="it begins")
        return self

    async def look(self) -> dict[str, Any]:
        """Read what came since the last look."""
        frames = [f["data"] for f in self.c.of("progress") if f["task"] == self.task]
        fresh, self._seen = frames[self._seen :], len(frames)
        size = 0
        for data in fresh:
            self.begun = data.get("begun") or self.begun
            for name, kept in (("out", self._out), ("err", self.err)):
                raw = base64.b64decode(data.get(name, ""))
                kept += raw
                size += len(raw)
            self.took += data.get("took", 0)
        if size and self.crediting:
            await self.input(credit=size)
        return self.begun

    async def input(self, **data: Any) -> None:
        await self.c.send({"t": "input", "task": self.task, "data": data})

    async def type(self, text: str | bytes) -> None:
        raw = text.encode() if isinstance(text, str) else text
        await self.input(data=base64.b64encode(raw).decode())

    async def out(self) -> bytes:
        await self.look()
        return bytes(self._out)

    async def shows(self, *words: str) -> None:
        async def all_there() -> bool:
            out = await self.out()
            return all(w.encode() in out for w in words)

        try:
            await until(all_there)
        except AssertionError:
            raise AssertionError(f"{words} not in {bytes(self._out[-2000:])!r}") from None

    async def ended(self) -> dict[str, Any]:
        async def answer() -> Any:
            await self.look()
            return next((f for f in self.c.of("result") if f["task"] == self.task), None)

        found = await until(answer, what="it ends")
        await self.look()
        return dict(found["data"]) if found["ok"] else dict(found)


async def test_a_login_shell_on_a_terminal(controller: FakeController, agent: AgentProcess) -> None:
    s = await Shell(controller, "s1").open()
    assert s.begun["user"] == "root" or os.geteuid()
    await s.type("stty size; tty; echo $TERM $- ok=$((40+2))\n")
    await s.shows("30 90", "/dev/pts/", "ok=42")
    await s.input(rows=50, cols=132)
    await s.type("stty size\n")
    await s.shows("50 132")
    await s.type("exit 7\n")
    done = await s.ended()
    assert (done["code"], done["signal"], done["why"]) == (7, None, "") and done["bytes"] == len(await s.out())
    assert not alive(s.begun["pid"])


async def test_full_screen_programs_see_the_size_change(controller: FakeController, agent: AgentProcess) -> None:
    code = (
        "import curses\n"
        "def main(w):\n"
        "    while True:\n"
        "        w.erase(); w.addstr(0, 0, 'size %dx%d' % w.getmaxyx()); w.refresh()\n"
        "        if w.getch() == ord('q'): return\n"
        "curses.wrapper(main)"
    )
    s = await Shell(controller, "c1").open(sys.executable, "-c", code)
    await s.shows("\x1b[?1049h", "size 30x90")
    await s.input(rows=41, cols=101)
    await s.shows("41x101")
    await s.type("q")
    await s.shows("\x1b[?1049l")
    assert (await s.ended())["code"] == 0


async def test_a_flood_waits_for_credit_and_ctrl_c_ends_it(controller: FakeController, agent: AgentProcess) -> None:
    s = await Shell(controller, "f1", crediting=False).open("yes", "flood")

    async def full() -> bool:
        return len(await s.out()) == WINDOW

    await until(full, what="it says as much as it may")
    other = await Shell(controller, "f2").open("cat")  # the plug-in serves others meanwhile
    await other.type("hello\n")
    await other.shows("hello\r\nhello")
    assert len(await s.out()) == WINDOW
    s.crediting = True
    await s.input(credit=WINDOW)
    await s.shows("flood")
    await s.type("\x03")
    assert (await s.ended())["signal"] == signal.SIGINT
    await other.type("\x04")
    assert (await other.ended())["code"] == 0


async def test_ctrl_c_passes_what_the_program_does_not_read(controller: FakeController, agent: AgentProcess) -> None:
    s = await Shell(controller, "i1").open("sh", "-c", "stty -echo; echo ready; exec sleep 600")
    await s.shows("ready")
    await s.type(b"pasted line\n" * 4000)

    async def stuck() -> bool:
        await s.look()
        return s.took > 0

    await until(stuck)
    assert s.took < 48000
    await s.type("\x03")
    assert (await s.ended())["signal"] == signal.SIGINT


async def test_all_of_it_ends_when_it_is_left(
    controller: FakeController, agent: AgentProcess, tmp_path: Path
) -> None:
    """Also what ignores the hangup, and what made itself a session of its own; by word, and with the connection."""
    pids: dict[str, list[int]] = {}
    script = "trap '' HUP TERM; setsid sleep 600 & sleep 600 & echo $$ $! > {0}; while :; do sleep 1; done"
    for task in ("k1", "k2"):
        s = await Shell(controller, task).open()
        await s.type(f"sh -c {script.format(tmp_path / task)!r}\n".replace("'\\''", "''").replace('"', '"'))
        await until(lambda t=task: (tmp_path / t).exists() and (tmp_path / t).read_text().endswith("\n"))
        found = [int(p) for p in (tmp_path / task).read_text().split()]
        pids[task] = [*found, s.begun["pid"]]
        if task == "k1":
            await controller.send({
                "t": "cmd", "task": "e1", "uuid": controller.hellos[-1][1], "word": "shell-end",
                "args": {"task": task},
            })  # fmt: skip
            assert (await s.ended())["why"] == "stopped"
            await until(lambda: not any(alive(p) for p in pids["k1"]), what="nothing is left")
    assert all(alive(p) for p in pids["k2"])
    controller.cut()
    await until(lambda: not any(alive(p) for p in pids["k2"]), what="it ends with its connection")


async def test_nobody_types_for_long(controller: FakeController, agent: AgentProcess) -> None:
    s = await Shell(controller, "n1").open("sh", "-c", "while :; do echo tick; sleep 0.2; done", idle=1.0)
    assert (await s.ended())["why"] == "idle"


async def test_pipes_and_what_cannot_begin(controller: FakeController, agent: AgentProcess) -> None:
    s = await Shell(controller, "p1").open("sh", "-c", "cat; echo no >&2; [ -t 0 ] || exit 3", tty=False)
    await s.type(b"\x03\x00binary\xff" * 10000)
    await s.input(eof=True)
    done = await s.ended()
    assert done["code"] == 3 and await s.out() == b"\x03\x00binary\xff" * 10000 and s.err == b"no\n"
    assert s.took == 90000
    for task, args, code, says in (
        ("b1", {"argv": ["/no/such"]}, "exec", "ENOENT /no/such"),
        ("b2", {"instance": "puzzle.web/9"}, "missing", "nothing of puzzle.web/9"),
        ("b3", {"argv": [""]}, "bad", "argv"),
    ):
        await controller.send({
            "t": "cmd", "task": task, "uuid": controller.hellos[-1][1], "word": "shell",
            "args": {"task": task, "credit": 1, **args},
        })  # fmt: skip
        answer = await controller.result(task)
        assert answer["code"] == code and says in answer["text"], answer


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_an_instance_has_its_user_its_release_and_its_names(
    controller: FakeController, agent: AgentProcess
) -> None:
    from tests.agent.fake import unitspec

    agent.dir.parent.chmod(0o711)
    spec = unitspec("puzzle.web/2:5", artifact=None, processes={"main": ["sleep", "600"]}, user="nobody", check=None)
    await controller.ok("prepare", spec=spec)
    await controller.ok("start", unit="puzzle.web/2:5")
    s = await Shell(controller, "u1").open(instance="puzzle.web/2")
    assert s.begun["user"] == "nobody" and s.begun["program"] == "/bin/sh"
    await s.type("id -un; pwd; echo at $COCKPIT_INSTANCE [$COCKPIT_RUN_MARK]; exit\n")
    await s.shows("nobody\r\n", "/instances/puzzle.web_2", "at puzzle.web/2 []")
    assert (await s.ended())["code"] == 0
    await controller.ok("stop", unit="puzzle.web/2:5", grace=1)
