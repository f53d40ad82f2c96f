"""The keeper itself: what it is to the kernel, what it takes over, and its loop."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import time

from . import adopt, handover, launch, proc
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
    def __init__(self, store: Store, boot: str, argv: list[str], given: Doc | None = None) -> None:
        """`argv` is how this version was started; `given` is what the version before it left."""
        self.store = store
        self.boot = boot
        self.argv = argv
        self.loop = Loop()
        self.host = launch.Host()
        self.done = False
        self._wake, wake = socket.socketpair()
        for end in (self._wake, wake):
            end.setblocking(False)
        self._wake_end = wake
        self._set_up()
        if given is not None:
            self.host.nofile = (given["nofile"][0], given["nofile"][1])
        self.journal = Journal(store.journal)
        self.lives = Lives(store, self.journal, self.loop, self.host, boot)
        self.guardian = Guardian(store.agent, store.directory, boot, self.loop, self.host)
        self._load(given)
        self.change = handover.Change(store.directory, self.host)
        self.operations = Operations(
            store, self.journal, self.lives, self.guardian, self._open_notify, self.change
        )
        if given is None:
            self.listening = listen(store.directory, SOCKET)
        else:
            self.listening = socket.socket(fileno=given["listening"])
        self.host.private = [store.lock, self.listening.fileno()]
        self.server = Server(self.loop, self.listening, self.operations.answer)
        self.loop.add(self._wake.fileno(), self._woken)
        self.guardian.load()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if given is not None:
            self._reap()  # who ended while nobody listened

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

    def _load(self, given: Doc | None) -> None:
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
        if given is not None:
            adopt.inherited(lives, given)
        elif last[0] and last[0] != self.boot:
            adopt.rebooted(lives)
        else:
            adopt.same_boot(lives)
        self.journal.note({"note": "boot", "boot": self.boot})
        self.journal.commit()
        notify = given["notify"] if given is not None else {}
        for unit in lives.units.values():
            self._open_notify(unit, notify.get(unit.unit))
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
        parts = (self.lives, self.guardian, self.change)
        times = [t for t in (part.next_deadline() for part in parts) if t is not None]
        if self.journal.trouble:
            times.append(time.monotonic() + RETRY)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _round(self, timeout: float | None) -> None:
        for fd, events in self.loop.wait(timeout):
            self._guarded(lambda fd=fd, events=events: self.loop.handle(fd, events))  # type: ignore[misc]
        now = time.monotonic()
        self.lives.tick(now)
        self.guardian.tick(now)
        self.change.tick(now)
        if self.operations.ended():
            self.done = True
        trouble = self.journal.trouble
        # one sync for everything that happened in this round; only then anybody hears of it
        self.server.push(self.journal.commit())
        if self.journal.trouble != trouble:
            _say(self.journal.trouble or "the journal is written again")
        self.server.flush()
        if self.change.cleared and not self.journal.trouble and handover.settled(self):
            self.change.accepted()
            self.server.flush()
            handover.replace(self, self.change.argv)

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
        self._reap()

    def _reap(self) -> None:
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
            elif not self.guardian.reaped(pid) and not self.change.reaped(pid, status):
                orphans = True
        for unit in touched.values():
            self.lives.settle(unit)
        if orphans:
            self.lives.look_again()

    # sd_notify

    def _open_notify(self, unit: Unit, fd: int | None = None) -> None:
        if not unit.spec["notify"]:
            return
        for _ in range(2):
            try:
                unit.notify = Notify(unit.notify_name) if fd is None else Notify.of(fd)
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


def _own_descriptors(kept: set[int]) -> None:
    """Whatever the starter left open must not reach a service: 0 to 2 exist, nothing else but `kept`."""
    while (fd := os.open("/dev/null", os.O_RDWR)) < 3:
        pass
    os.close(fd)
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        if number in kept:
            os.set_inheritable(number, False)
        elif number > 2:
            try:
                os.close(number)
            except OSError:
                pass


def check(arguments: list[str]) -> int:
    """Could this version take over from one that hands over in this format? 0: yes."""
    if arguments != [str(handover.FORMAT)]:
        _say(f"the handover of format {' '.join(arguments)} is not understood here, only {handover.FORMAT}")
        return 2
    return 0


USAGE = "usage: keeper DIR [--boot-id ID] | keeper --check FORMAT"


def main(argv: list[str], program: list[str]) -> int:
    """`program` is how this version was started, up to its arguments.

    0: told to end. 2: wrong arguments or directory. 3: another keeper holds the directory.
    """
    if argv[:1] == ["--check"]:
        return check(argv[1:])
    options = {"--boot-id": "", "--handover": ""}
    for n in range(1, len(argv) - 1, 2):
        options[argv[n]] = argv[n + 1]
    if len(argv) % 2 == 0 or argv[0].startswith("-") or len(options) > 2:
        _say(USAGE)
        return 2
    boot, memory = options["--boot-id"], options["--handover"]
    given = handover.read(int(memory)) if memory else None
    _own_descriptors({int(memory), *handover.fds(given)} if given is not None else set())
    try:
        store = Store(argv[0], -1 if given is None else given["lock"])
        os.chdir("/")
        keeper = Keeper(store, boot or proc.boot_id(), program, given)
    except Exception as e:
        if given is not None:
            handover.give_back(int(memory), argv[0], boot, given, f"{type(e).__name__}: {e}")
        if isinstance(e, Busy):
            _say(str(e))
            return 3
        if isinstance(e, OSError):
            _say(f"{e.filename or argv[0]}: {e.strerror}")
            return 2
        raise
    if given is not None:
        os.close(int(memory))
        if given.get("returned"):
            _say(f"the version that was to take over did not: {given['returned']}")
    keeper.run()
    return 0
