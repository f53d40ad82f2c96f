"""The operations on the keeper's socket."""

from __future__ import annotations

import os
import time

from .notify import new_name
from .run import ENDING, UP
from .spec import check_env, check_spec, file_name, signal_number
from .unit import Unit
from .wire import MAX_LINE, Raw, Reject, encode, number, strings, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .guardian import Guardian
    from .handover import Change
    from .journal import Journal
    from .lives import Lives
    from .server import Connection
    from .store import Store

    Doc = dict[str, Any]

VERSION = 2
"""2: `signal` takes `process`, `all` and `run`."""
MAX_UNITS = 4096
MAX_EVENTS = 8 * 1024 * 1024
"""Bytes of events in one answer to `list`."""


PROGRAM = os.path.dirname(os.path.abspath(__file__))


def _release() -> str:
    """The version of Cockpit that this keeper is part of; empty when that is not told beside it."""
    try:
        with open(os.path.join(PROGRAM, "..", "..", "__init__.py")) as f:
            for line in f:
                if line.startswith("__version__"):
                    return line.partition("=")[2].strip().strip("\"'")
    except (OSError, UnicodeDecodeError):
        pass
    return ""


class Operations:
    """One method per `op`. Those that return None answer later."""

    def __init__(
        self, store: Store, journal: Journal, lives: Lives, guardian: Guardian, opened: Callable[[Unit], None],
        change: Change,
    ) -> None:
        self.store = store
        self.journal = journal
        self.lives = lives
        self.guardian = guardian
        self.change = change
        self.release = _release()
        self.ending: Callable[[Doc], None] | None = None
        self._opened = opened
        """To be told of a new unit."""
        self._operations: dict[str, Callable[[Connection, Doc], Doc | Raw | None]] = {
            "hello": self._hello, "list": self._list, "subscribe": self._subscribe, "ack": self._ack,
            "put": self._put, "start": self._start, "stop": self._stop, "remove": self._remove,
            "signal": self._signal, "pin": self._pin, "agent": self._agent, "exec": self._exec,
            "end": self._end,
        }

    def answer(self, connection: Connection, doc: Doc) -> Doc | Raw | None:
        operation = self._operations.get(text(doc, "op", ""))
        if operation is None:
            raise Reject("bad", f"op: one of {', '.join(self._operations)} is wanted")
        try:
            return operation(connection, doc)
        except OSError as e:
            where = f": {e.filename}" if e.filename else ""
            raise Reject("bad", f"{doc.get('op')}: {e.strerror}{where}") from None

    def _unit(self, doc: Doc) -> Unit:
        """By unit id, or by instance id when that means one unit only."""
        name = text(doc, "unit")
        units = self.lives.units
        if name in units:
            return units[name]
        found = [u for u in units.values() if u.instance == name]
        if len(found) == 1:
            return found[0]
        if found:
            raise Reject("bad", f"{name}: one of {', '.join(u.unit for u in found)} is meant?")
        instance = name.rpartition(":")[0]
        near = [u.unit for u in units.values() if instance == u.instance or name in u.unit]
        hint = f"; there is {', '.join(near[:3])}" if near else ""
        raise Reject("missing", f"{name}: no such unit{hint}")

    def _hello(self, connection: Connection, doc: Doc) -> Doc:
        return {
            "pid": os.getpid(), "boot_id": self.lives.boot, "version": VERSION, "agent_pid": self.guardian.pid,
            "agent_argv": self.guardian.argv, "agent_note": self.guardian.note, "trouble": self.journal.trouble,
            "release": self.release, "program": PROGRAM,
        }

    def _list(self, connection: Connection, doc: Doc) -> Raw:
        """Everything (this answer may be longer than a line elsewhere), or the record of one unit.

        With `since`, of the events those after that number; `more`: there are more than were sent.
        """
        units = [self._unit(doc)] if "unit" in doc else list(self.lives.units.values())
        events, more = self.journal.unacked(MAX_EVENTS, int(number(doc, "since", 0)))
        return Raw({"seq": self.journal.seq, "more": more}, {
            "units": [encode(u.record())[:-1] for u in units], "events": [] if "unit" in doc else events,
        })

    def _subscribe(self, connection: Connection, doc: Doc) -> Doc:
        connection.subscribed = True
        return {"seq": self.journal.seq}

    def _ack(self, connection: Connection, doc: Doc) -> Doc:
        seq = int(number(doc, "seq"))
        if seq > self.journal.seq:
            raise Reject("bad", f"seq: {seq} was not given out yet, the last is {self.journal.seq}")
        self.journal.ack(seq)
        if self.journal.worth_rewriting():
            boot: Doc = {"note": "boot", "boot": self.lives.boot}
            self.journal.rewrite([boot, *(u.checkpoint() for u in self.lives.units.values())])
        return {}

    def _put(self, connection: Connection, doc: Doc) -> Doc:
        spec = check_spec(doc.get("spec"))
        old = self.lives.units.get(spec["unit"])
        if old is not None:
            if old.spec != spec:
                raise Reject("exists", f"{spec['unit']}: exists with another spec")
            return {}
        if len(self.lives.units) >= MAX_UNITS:
            raise Reject("busy", f"{MAX_UNITS} units are the most")
        clash = [u for u in self.lives.units if file_name(u).lower() == file_name(spec["unit"]).lower()]
        if clash:
            raise Reject("exists", f"{spec['unit']}: too like {clash[0]}")
        unit = Unit(spec, new_name())
        if len(encode(unit.record())) > MAX_LINE // 2:
            raise Reject("bad", f"spec: over {MAX_LINE // 2} bytes")
        self.store.save_spec(unit)
        self.lives.units[unit.unit] = unit
        self._opened(unit)
        return {}

    def _start(self, connection: Connection, doc: Doc) -> Doc | None:
        unit = self._unit(doc)
        by = text(doc, "by", "", 200)
        if self.ending is not None:
            raise Reject("busy", "the keeper is ending")
        run = unit.live
        if run is not None and run.phase == ENDING:
            raise Reject("busy", f"{unit.unit}: its last run has not ended yet")
        self._wish(connection, unit, "start", by, wanted=True)
        if run is not None and run.phase == UP:
            pids = unit.pids()
            return {"pid": next(iter(pids.values()), None), "pids": pids, "run": unit.run, "already": True}
        self._later(connection, doc, unit.starting)
        if run is None:
            fresh = {"note": "fresh", "unit": unit.unit}
            self.journal.note(fresh)
            unit.apply(fresh)
            self.lives.start(unit, by)
        return None

    def _stop(self, connection: Connection, doc: Doc) -> None:
        unit = self._unit(doc)
        by = text(doc, "by", "", 200)
        stop = unit.spec["stop"]
        how = doc.get("signal") or stop["signal"]
        signal_number(how)
        grace = number(doc, "grace") if doc.get("grace") is not None else stop["grace"]
        self._wish(connection, unit, "stop", by, wanted=False)
        self._later(connection, doc, unit.stopping)
        self.lives.stop(unit, how, grace)

    def _signal(self, connection: Connection, doc: Doc) -> Doc:
        """To the unit's own processes, or the one named; what they started only with `all`. `run` must be the one
        that was meant, when it is given. One without processes got none."""
        unit = self._unit(doc)
        by, name = text(doc, "by", "", 200), text(doc, "process", "", 64)
        number = signal_number(doc.get("signal"))
        if name and all(p["name"] != name for p in unit.spec["processes"]):
            names = ", ".join(p["name"] for p in unit.spec["processes"])
            raise Reject("bad", f"process: {unit.unit} has {names}, no {name}")
        run = doc.get("run")
        if run is not None and run != unit.run:
            raise Reject("busy", f"{unit.unit}: its run is {unit.run} now, not {run!r:.20}; nobody was told")
        if by.startswith("ctl:"):
            self.journal.event("ctl", unit=unit.unit, op="signal", uid=connection.uid, by=by, pinned=unit.pinned)
        return {**self.lives.signal(unit, number, name, doc.get("all") is True, run is not None), "run": unit.run}

    def _wish(self, connection: Connection, unit: Unit, op: str, by: str, wanted: bool) -> None:
        """Writes down what is wanted now, and who said so when it was somebody on the host."""
        before = unit.wanted, unit.by, unit.pinned
        unit.wanted, unit.by, unit.pinned = wanted, by, ""
        if by.startswith("ctl:"):
            self._by_hand(connection, unit, op, by)
        try:
            self.store.save_wanted(unit)
        except OSError:
            if wanted:
                unit.wanted, unit.by, unit.pinned = before
                raise
            # a full disk must not keep anybody from stopping what fills it

    def _by_hand(self, connection: Connection, unit: Unit, op: str, by: str) -> None:
        clock = time.strftime("%H:%M", time.localtime())
        unit.pinned = "" if op == "unpin" else f"uid {connection.uid} {clock} {op}"
        self.journal.event("ctl", unit=unit.unit, op=op, uid=connection.uid, by=by, pinned=unit.pinned)

    def _pin(self, connection: Connection, doc: Doc) -> Doc:
        unit = self._unit(doc)
        by = text(doc, "by", "", 200)
        self._by_hand(connection, unit, "pin" if by else "unpin", by)
        self.store.save_wanted(unit)
        return {"pinned": unit.pinned}

    def _later(self, connection: Connection, doc: Doc, waiting: list[Callable[[Doc], None]]) -> None:
        id = doc.get("id")
        waiting.append(lambda answer: connection.reply(id, answer))

    def _remove(self, connection: Connection, doc: Doc) -> Doc:
        unit = self._unit(doc)
        if unit.live is not None:
            raise Reject("busy", f"{unit.unit}: has processes")
        unit.wanted, unit.due = False, None
        self.journal.note({"note": "removed", "unit": unit.unit})
        self.journal.write()
        self.store.forget(unit)
        if unit.notify is not None:
            self.lives.loop.drop(unit.notify.fd)
            unit.notify.close()
        del self.lives.units[unit.unit]
        return {}

    def _agent(self, connection: Connection, doc: Doc) -> Doc:
        if self.ending is not None:
            raise Reject("busy", "the keeper is ending")
        if doc.get("none") is True:  # somebody else keeps it
            self.guardian.release()
            return {"agent_pid": None}
        argv = strings(doc.get("argv"), "argv")
        if not argv or not argv[0]:
            raise Reject("bad", "argv: the program is missing")
        pid = int(number(doc, "pid")) if doc.get("pid") is not None else None
        env = doc.get("env")
        if env is not None:
            env = check_env(env, "env")
        leave = int(number(doc, "leave")) if doc.get("leave") is not None else None
        trial = number(doc, "trial", 0)
        self.guardian.keep(argv, pid, env, text(doc, "cwd", self.store.directory), leave, trial)
        return {"agent_pid": self.guardian.pid}

    def _exec(self, connection: Connection, doc: Doc) -> None:
        """Become another version, which must first show that it starts. The connection ends with the answer."""
        if self.ending is not None:
            raise Reject("busy", "the keeper is ending")
        argv = strings(doc.get("argv"), "argv")
        if not argv or not os.path.isabs(argv[0]):
            raise Reject("bad", "argv: an absolute path is wanted")
        id = doc.get("id")
        self.change.ask(argv, lambda answer: connection.reply(id, answer))

    def _end(self, connection: Connection, doc: Doc) -> None:
        id = doc.get("id")
        self.store.mark_ended()
        self.ending = lambda answer: connection.reply(id, answer)
        self.lives.closing = True
        for unit in self.lives.units.values():
            stop = unit.spec["stop"]
            self.lives.stop(unit, stop["signal"], stop["grace"], "ended")

    def ended(self) -> bool:
        """Nothing is left after `end`. Services go first, so that the agent can still tell of them."""
        if self.ending is None or any(u.live is not None for u in self.lives.units.values()):
            return False
        if not self.guardian.stop():
            return False
        self.ending({})
        return True
