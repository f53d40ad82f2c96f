"""The keeper itself: what it is to the kernel, what it takes over, and its loop."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import time

from . import adopt, launch, proc
from .guardian import Guardian
from .journal import Journal
from .lives import Lives
from .loop import Loop
from .notify import MAX_STATUS, Notify, new_name
from .operations import Operations
from .server import Server, listen
from .store import Busy, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .unit import Unit

    Doc = dict[str, Any]

SOCKET = "keeper.sock"
RETRY = 1.0
IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE)


class Keeper:
    def __init__(self, store: Store, boot: str) -> None:
        self.store = store
        self.boot = boot
        self.loop = Loop()
        self.host = launch.Host()
        self.done = False
        self._wake, wake = socket.socketpair()
        for end in (self._wake, wake):
            end.setblocking(False)
        self._wake_end = wake
        self._set_up()
        self.journal = Journal(store.journal)
        self.lives = Lives(store, self.journal, self.loop, self.host, boot)
        self.guardian = Guardian(store.agent, store.directory, boot, self.loop, self.host)
        self._load()
        self.operations = Operations(store, self.journal, self.lives, self.guardian, self._open_notify)
        listening = listen(store.directory, SOCKET)
        self.host.private = [store.lock, listening.fileno()]
        self.server = Server(self.loop, listening, self.operations.answer)
        self.loop.add(self._wake.fileno(), self._woken)
        self.guardian.load()

    def _set_up(self) -> None:
        """What this process is to the kernel."""
        os.umask(0o077)
        signal.set_wakeup_fd(self._wake_end.fileno(), warn_on_full_buffer=False)
        for heard in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(heard, _nothing)
        for ignored in IGNORED:
            signal.signal(ignored, signal.SIG_IGN)
        self.host.refresh()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            pass
        try:
            fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, b"-999")
                self.host.oom = True
            finally:
                os.close(fd)
        except OSError:
            pass

    def _load(self) -> None:
        lives = self.lives
        lives.units, bad = self.store.load()
        for complaint in bad:
            _say(f"left out: {complaint}")
        last = [""]

        def apply(doc: Doc) -> None:
            if doc.get("note") == "boot":
                last[0] = doc["boot"]
            unit = lives.units.get(doc.get("unit", ""))
            if unit is not None:
                try:
                    unit.apply(doc)
                except (KeyError, TypeError, AttributeError):
                    self.journal.damaged += 1

        self.journal.load(apply)
        if self.journal.damaged:
            _say(f"{self.journal.damaged} lines of the journal could not be read")
        if last[0] and last[0] != self.boot:
            adopt.rebooted(lives)
        else:
            adopt.same_boot(lives)
        self.journal.note({"note": "boot", "boot": self.boot})
        self.journal.commit()
        for unit in lives.units.values():
            self._open_notify(unit)
            lives.plan(unit)
            lives.settle(unit)

    # the loop

    def run(self) -> None:
        """Until it was told to end."""
        while not self.done:
            self._guarded(lambda: self._round(self._timeout()))
        self.journal.commit()
        self.server.shut()
        try:
            os.unlink(os.path.join(self.store.directory, SOCKET))
        except OSError:
            pass

    def _timeout(self) -> float | None:
        times = [t for t in (self.lives.next_deadline(), self.guardian.next_deadline()) if t is not None]
        if self.journal.trouble:
            times.append(time.monotonic() + RETRY)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _round(self, timeout: float | None) -> None:
        for fd, events in self.loop.wait(timeout):
            self._guarded(lambda fd=fd, events=events: self.loop.handle(fd, events))  # type: ignore[misc]
        now = time.monotonic()
        self.lives.tick(now)
        self.guardian.tick(now)
        if self.operations.ended():
            self.done = True
        trouble = self.journal.trouble
        # one sync for everything that happened in this round; only then anybody hears of it
        self.server.push(self.journal.commit())
        if self.journal.trouble != trouble:
            _say(self.journal.trouble or "the journal is written again")
        self.server.flush()

    def _guarded(self, call: Callable[[], None]) -> None:
        """A mistake in one place must not take every service's keeper away."""
        try:
            call()
        except Exception:
            sys.excepthook(*sys.exc_info())

    def _woken(self, events: int) -> None:
        try:
            numbers = self._wake.recv(4096)
        except BlockingIOError:
            return
        if signal.SIGTERM in numbers:
            self.done = True
            return
        touched: dict[str, Unit] = {}
        orphans = False
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            unit = self.lives.reaped(pid, status, usage.ru_maxrss)
            if unit is not None:
                touched[unit.unit] = unit
            elif not self.guardian.reaped(pid):
                orphans = True
        for unit in touched.values():
            self.lives.settle(unit)
        if orphans:
            self.lives.look_again()

    # sd_notify

    def _open_notify(self, unit: Unit) -> None:
        if not unit.spec["notify"]:
            return
        for _ in range(2):
            try:
                unit.notify = Notify(unit.notify_name)
            except OSError:  # somebody took the name: what runs cannot be heard, the next run can
                unit.notify_name = new_name()
                self.store.save_spec(unit)
                continue
            self.loop.add(unit.notify.fd, lambda events: self._notified(unit))
            return

    def _notified(self, unit: Unit) -> None:
        if unit.notify is None:
            return
        uid = unit.spec["uid"]
        allowed = (0, os.geteuid(), os.geteuid() if uid is None else uid)
        ready, status = unit.ready, unit.status
        for message in unit.notify.read(allowed):
            if unit.live is None:
                continue
            ready = ready or message.get("READY") == "1"
            status = message.get("STATUS", status)[:MAX_STATUS]
            if message.get("WATCHDOG") == "1":
                unit.watchdog = time.time()
        if unit.live is None or (ready, status) == (unit.ready, unit.status):
            return
        unit.status = status
        if ready and not unit.ready:
            doc = {"note": "ready", "unit": unit.unit}
            self.journal.note(doc)
            unit.apply(doc)
        self.journal.passing("notify", unit=unit.unit, run=unit.run, ready=ready, status=status)


def _nothing(number: int, frame: object) -> None:
    """The wake-up descriptor carries the news."""


def _say(line: str) -> None:
    try:
        os.write(2, f"keeper: {line}\n".encode(errors="replace"))
    except OSError:
        pass


def _own_descriptors() -> None:
    """Whatever the starter left open must not reach a service: 0 to 2 exist, nothing else does."""
    while (fd := os.open("/dev/null", os.O_RDWR)) < 3:
        pass
    os.close(fd)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.close(int(name))
            except OSError:
                pass


def main(argv: list[str]) -> int:
    """0: told to end. 2: wrong arguments or directory. 3: another keeper holds the directory."""
    boot = ""
    if len(argv) == 3 and argv[1] == "--boot-id":
        boot = argv[2]
    elif len(argv) != 1 or argv[0].startswith("-"):
        _say("usage: keeper DIR [--boot-id ID]")
        return 2
    _own_descriptors()
    try:
        store = Store(argv[0])
        os.chdir("/")
        keeper = Keeper(store, boot or proc.boot_id())
    except Busy as e:
        _say(str(e))
        return 3
    except OSError as e:
        _say(f"{e.filename or argv[0]}: {e.strerror}")
        return 2
    keeper.run()
    return 0
