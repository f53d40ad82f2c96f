"""`exec`: a program for the controller; its lines go out as they come. It belongs to its connection.

exec {"task","argv","timeout","user"} -> {"code","signal","why": "" | timeout | stopped,"seconds","lines","dropped"};
progress {"lines": [["out"|"err", text]...]}. unexec {"task"} ends one; its own command answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict

if TYPE_CHECKING:
    from cockpit.agent.plugins.commands import Lines, Running
    from cockpit.agent.plugins.inside import Call, Host

MAX_TIMEOUT = 24 * 3600.0


class Exec:
    def __init__(self, host: "Host") -> None:
        self._host = host
        self._running: "Dict[str, Running]" = {}
        self._stopped: Dict[str, None] = {}
        """Tasks that were stopped before they began."""

    def exec(self, call: "Call") -> Dict[str, Any]:
        args = call.args
        task, argv, timeout = str(args.get("task") or ""), args.get("argv"), args.get("timeout", 60)
        if not task or not isinstance(argv, list) or not all(isinstance(a, str) for a in argv) or not argv:
            raise self._host.error("bad", "exec: task and argv (a list of words) are wanted")
        if not isinstance(timeout, (int, float)) or not 0 < timeout <= MAX_TIMEOUT:
            raise self._host.error("bad", f"exec: timeout is seconds, at most {MAX_TIMEOUT:g}")
        commands = self._host.commands()

        def started(running: "Running") -> None:
            self._running[task] = running
            call.on_cancel(running.stop)
            if self._stopped.pop(task, "") is None:
                running.stop()

        def told(lines: "Lines") -> None:
            call.progress({"lines": lines})

        try:
            result: Dict[str, Any] = commands.run(
                argv, timeout=float(timeout), user=str(args.get("user") or ""), told=told, started=started
            )
        except Exception as e:
            if hasattr(e, "code"):
                raise self._host.error(str(e.code), str(e)) from None
            raise
        finally:
            self._running.pop(task, None)
        return result

    def unexec(self, call: "Call") -> Dict[str, Any]:
        task = str(call.args.get("task") or "")
        running = self._running.get(task)
        if running is not None:
            running.stop()
        else:
            self._stopped[task] = None
            while len(self._stopped) > 1000:
                del self._stopped[next(iter(self._stopped))]
        return {}

    def end_all(self) -> None:
        for running in list(self._running.values()):
            running.stop()


def start(host: "Host") -> None:
    work = Exec(host)
    host.word("exec", work.exec)
    host.word("unexec", work.unexec)
    host.on("disconnected", work.end_all)
    host.commands()
