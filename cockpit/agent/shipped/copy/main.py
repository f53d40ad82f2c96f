"""`copy`: one regular file from this host, or to it. It belongs to its connection.

copy {"task","instance"|"","path","put","limit","overwrite","size"|null,"mode","sha256"|"","credit","stall"}
-> {"path","size","sha256","changed": bool,"seconds","bytes": of progress}.
Progress: first {"begun": {"user","path","size","mode","replaces"}}, then {"data": base64} of a file that is read, and
{"took": bytes} of one that is written. Input: {"data": base64}, {"credit": bytes}, and when all was sent
{"eof": true,"size","sha256"}. copy-end {"task"} ends one. A process of its own, child.py, opens the file as the user.
"""

from __future__ import annotations

import os
import pwd
import sys
import time
from typing import TYPE_CHECKING, Any, Dict

from .pump import Pump

if TYPE_CHECKING:
    from cockpit.agent.plugins.commands import Running
    from cockpit.agent.plugins.inside import Call, Host

MAX_COPIES = 16
MAX_PATH = 4096
OURS = "this is the agent's own and is not for copies"
RELEASE = "a release is never changed: push a new version, or write elsewhere, for example into {0}"
ENDS = {
    "lost": "contact with the controller was lost", "replaced": "the agent was replaced: copy it again",
    "stalled": "nothing moved for too long", "flooded": "more was sent than there was room for",
    "timeout": "it took too long",
}  # fmt: skip


class Copies:
    def __init__(self, host: "Host") -> None:
        self._host = host
        self._running: "Dict[str, Running]" = {}
        self._stopped: Dict[str, None] = {}
        """Tasks that were stopped before they began."""

    def copy(self, call: "Call") -> Dict[str, Any]:
        args, error = call.args, self._host.error
        task, path, put = str(args.get("task") or ""), args.get("path"), bool(args.get("put"))
        place = args.get("place") or {}
        if not task or not isinstance(path, str) or not path or "\0" in path or len(path) > MAX_PATH:
            raise error("bad", f"copy: task and a path of at most {MAX_PATH} characters are wanted")
        if not place and not path.startswith("/"):
            raise error("bad", "copy: a path on a host begins with /")
        if len(self._running) >= MAX_COPIES:
            raise error("busy", f"{MAX_COPIES} copies are under way on this host")
        if self._host.finishing:
            raise error("busy", "the agent of this host is being replaced: try again")
        uid = place.get("uid")
        request = {
            **{k: args.get(k) for k in ("path", "limit", "overwrite", "size", "mode")}, "put": put,
            "directory": place.get("directory") or "/", "uid": uid, "gid": place.get("gid"),
            "groups": place.get("groups"), "closed": self._closed(put, str(args.get("instance") or "")),
        }
        began = time.monotonic()
        pump = Pump(put, max(0, int(args.get("credit") or 0)), float(args.get("stall") or 300.0))
        try:
            with self._host.commands().held(
                [sys.executable, "-I", "-S", "-B", os.path.join(self._host.directory, "child.py"), *pump.words()],
                env={}, stdio=pump.stdio(), pass_fds=pump.passed(),
            ) as (running, _):
                pump.begin(request)
                self._began(task, call, running)
                done = pump.run(call, running, _user(uid), str(args.get("sha256") or ""))
        except OSError as e:
            raise error("failed", f"copy: {e.strerror or e}") from None
        finally:
            self._running.pop(task, None)
            pump.close()
        if "done" in done:
            return {**done["done"], "seconds": round(time.monotonic() - began, 3), "bytes": pump.sent}
        if running.why in ENDS:
            raise error(running.why, ENDS[running.why])
        code, text = done.get("error") or (running.why or "failed", "the copy ended before its end")
        raise error(str(code), str(text))

    def _closed(self, put: bool, instance: str) -> Dict[str, str]:
        """For child.py's `shut`. Keys are read by nobody; of our directory only what is instances' is written."""
        top = os.path.realpath(self._host.host_dir)
        if not put:
            return {os.path.join(top, "identity"): OURS}
        all_own = os.path.join(top, "instances")
        own = os.path.join(all_own, instance.replace("/", "_") or "INSTANCE")
        return {top: OURS, os.path.join(top, "releases"): RELEASE.format(own), all_own: ""}

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


def _user(uid: Any) -> str:
    number = os.geteuid() if uid is None else int(uid)
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def start(host: "Host") -> None:
    work = Copies(host)
    host.word("copy", work.copy)
    host.word("copy-end", work.end)
    host.on("disconnected", lambda: work.end_all("lost"))
    host.on("finish", lambda: work.end_all("replaced"))
    host.commands()
