"""`shell`: a shell, or one program, for a person at a terminal far away. It belongs to its connection.

shell {"task","instance"|"","argv": [] is the login shell,"tty","rows","cols","term","credit","idle"}
-> {"code","signal","why": "" | stopped | idle | lost | replaced | timeout | flooded,"seconds","bytes"}.
Progress: first {"begun": {"pid","user","directory","program"}}, then {"out","err": base64,"took": bytes of input}.
Input: {"data": base64}, {"credit": bytes}, {"rows","cols"}, {"eof": true}. shell-end {"task"} ends one.
"""

from __future__ import annotations

import os
import pty
import pwd
import re
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Tuple

from .pump import Pump, set_size

if TYPE_CHECKING:
    from cockpit.agent.plugins.commands import Running
    from cockpit.agent.plugins.inside import Call, Host

MAX_SHELLS = 50
MAX_ARGV = 128 * 1024
TERM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
PLAIN = "/bin/sh"
NO_SHELLS = ("nologin", "false", "sync", "shutdown", "halt")
"""What accounts of services have in place of a shell."""


class Who(NamedTuple):
    """Whom the program runs as; `change` is UID, GID and GROUPS for child.py."""

    name: str
    home: str
    shell: str
    change: Tuple[str, str, str]


class Shells:
    def __init__(self, host: "Host") -> None:
        self._host = host
        self._running: "Dict[str, Running]" = {}
        self._stopped: Dict[str, None] = {}
        """Tasks that were stopped before they began."""

    def shell(self, call: "Call") -> Dict[str, Any]:
        args, error = call.args, self._host.error
        task, argv, tty = str(args.get("task") or ""), args.get("argv") or [], bool(args.get("tty", True))
        if not task or not isinstance(argv, list) or not all(isinstance(a, str) and "\0" not in a for a in argv):
            raise error("bad", "shell: task and argv (a list of words) are wanted")
        if sum(len(a.encode()) for a in argv) > MAX_ARGV or (argv and not argv[0]):
            raise error("bad", f"shell: argv begins with a program and has at most {MAX_ARGV} bytes")
        if len(self._running) >= MAX_SHELLS:
            raise error("busy", f"{MAX_SHELLS} shells are open on this host")
        if self._host.finishing:
            raise error("busy", "the agent of this host is being replaced: try again")
        place = args.get("place") or {}
        who = _who(place)
        env = _environment(who, place, str(args.get("term") or "")) if tty else _environment(who, place, "dumb")
        directory = str(place.get("directory") or "") or (who.home if os.path.isdir(who.home) else "/")
        program, words = (argv[0], list(argv)) if argv else (who.shell, ["-" + os.path.basename(who.shell)])
        began = time.monotonic()
        ours, theirs, outputs = _ends(tty, who)
        pump = Pump(ours, outputs, tty, max(0, int(args.get("credit") or 0)), float(args.get("idle") or 3600.0))
        try:
            if tty:
                set_size(ours, args.get("rows") or 24, args.get("cols") or 80)
            said, status = os.pipe()
            theirs = (*theirs, status)
            child_argv = [
                sys.executable, "-I", "-S", "-B", os.path.join(self._host.directory, "child.py"), str(status),
                "1" if tty else "0", *who.change, directory, program, *words,
            ]
            with os.fdopen(said, "rb") as trouble:
                with self._host.commands().held(
                    child_argv, env=env, stdio=theirs[:3], pass_fds=(status,)
                ) as (running, child):
                    for fd in set(theirs):
                        os.close(fd)
                    theirs = ()
                    text = trouble.read(1000).decode("utf-8", "replace")
                    if text:
                        raise error("exec", f"it does not begin: {text}")
                    running.first = signal.SIGHUP  # shells at a terminal ignore SIGTERM
                    self._began(task, call, running)
                    call.progress({"begun": {
                        "pid": child.pid, "user": who.name, "directory": directory, "program": program,
                    }})  # fmt: skip
                    call.on_input(pump.take)
                    pump.run(call, running, child)
                    code = child.wait()
        except OSError as e:
            raise error("failed", f"shell: {e.strerror or e}") from None
        finally:
            self._running.pop(task, None)
            for fd in set(theirs):
                os.close(fd)
            pump.close()
        return {
            "code": code if code >= 0 else None, "signal": -code if code < 0 else None, "why": running.why,
            "seconds": round(time.monotonic() - began, 3), "bytes": pump.sent,
        }

    def _began(self, task: str, call: "Call", running: "Running") -> None:
        self._running[task] = running
        call.on_cancel(running.stop)
        if self._stopped.pop(task, "") is None:
            running.stop()

    def end(self, call: "Call") -> Dict[str, Any]:
        task = str(call.args.get("task") or "")
        running = self._running.get(task)
        if running is not None:
            running.stop()
        else:
            self._stopped[task] = None
            while len(self._stopped) > 1000:
                del self._stopped[next(iter(self._stopped))]
        return {}

    def end_all(self, why: str) -> None:
        for running in list(self._running.values()):
            running.stop(why)


def _who(place: Dict[str, Any]) -> Who:
    uid = place.get("uid")
    try:
        entry = pwd.getpwuid(os.geteuid() if uid is None else int(uid))
        name, home, shell = entry.pw_name, entry.pw_dir, entry.pw_shell
    except KeyError:
        name, home, shell = str(os.geteuid() if uid is None else uid), "/", ""
    if not os.access(shell, os.X_OK) or os.path.basename(shell) in NO_SHELLS:
        shell = PLAIN
    change = ("", "", "")
    if uid is not None:
        groups: List[Any] = place.get("groups") or []
        change = (str(int(uid)), str(int(place["gid"])), ",".join(str(int(g)) for g in groups))
    return Who(name, home or "/", shell, change)


def _environment(who: Who, place: Dict[str, Any], term: str) -> Dict[str, str]:
    """Of a login; with what a process of the instance knows of itself."""
    hints = {str(k): str(v) for k, v in (place.get("env") or {}).items()}
    return {
        "PATH": os.environ.get("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        "LANG": os.environ.get("LANG", "C.UTF-8"), "HOME": who.home, "USER": who.name, "LOGNAME": who.name,
        "SHELL": who.shell, "TERM": term if TERM.fullmatch(term) else "xterm", **hints,
    }


def _ends(tty: bool, who: Who) -> "Tuple[int, Tuple[int, ...], Dict[int, str]]":
    """(what we write to, standard input, output and error of the program, what we read)."""
    if tty:
        master, slave = pty.openpty()
        if who.change[0]:
            os.fchown(slave, int(who.change[0]), -1)
        os.fchmod(slave, 0o620)
        return master, (slave, slave, slave), {master: "out"}
    taken, into = os.pipe()
    out, told = os.pipe()
    err, wrong = os.pipe()
    return into, (taken, told, wrong), {out: "out", err: "err"}


def start(host: "Host") -> None:
    work = Shells(host)
    host.word("shell", work.shell)
    host.word("shell-end", work.end)
    host.on("disconnected", lambda: work.end_all("lost"))
    host.on("finish", lambda: work.end_all("replaced"))
    host.commands()
