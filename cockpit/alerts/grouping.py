"""From conditions to alerts: by rule and group, told once, again when it grows or stays, and when it ends. Pure.

Told at once means after `collect` seconds, so that forty crashes of one moment are one notice. An alert that was
acknowledged is told only when it ends; one that matches a silence is not told at all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from cockpit.alerts.detect import Condition
from cockpit.alerts.settings import LOOP, Rule, Settings
from cockpit.model.alert_rows import ACKNOWLEDGED, ENDED, FIRING, SILENCED, SilenceRow
from cockpit.model.view import AlertRow
from cockpit.plan.steps import Bad

QUIET = 5.0
"""Seconds without any member after which an alert has ended: what flaps is one alert."""
REPORTS = 30.0
"""Seconds that hosts have after a restart to report again what held before it."""
KEPT = 100
"""Ended alerts that can still be seen."""
MEMBERS = 50
"""Names of members that are kept and told."""
LONGEST = 30 * 86400.0


class Notice(msgspec.Struct, frozen=True):
    """To be told to one target."""

    target: str
    what: str
    """firing, again, more, ended."""
    alert: AlertRow
    cluster: str = ""


class _Open(msgspec.Struct):
    row: AlertRow
    last: float
    """When it last had a member."""
    told_members: int = 0
    due: float | None = None
    """When it is to be told next."""


class Grouping:
    """Alerts that are open, those that ended, and silences. `step` is called with everything that holds now."""

    def __init__(self, settings: Settings, cluster: str = "") -> None:
        self.settings = settings
        self.cluster = cluster
        self.silences: dict[str, SilenceRow] = {}
        self._open: dict[tuple[str, str], _Open] = {}
        self._ended: dict[str, AlertRow] = {}
        self._numbers = itertools.count(1)

    # what lasts

    def load(self, kept: Mapping[str, Any], now: float) -> None:
        """What `dump` gave before a restart. Raises msgspec.ValidationError."""
        self._numbers = itertools.count(int(kept.get("next", 1)))
        silences = msgspec.convert(kept.get("silences", []), list[SilenceRow])
        self.silences = {s.id: s for s in silences}
        for row in msgspec.convert(kept.get("open", []), list[AlertRow]):
            self._open[row.when, row.group] = _Open(row, now + REPORTS, len(row.members))

    def dump(self) -> dict[str, Any]:
        following = next(self._numbers)
        self._numbers = itertools.count(following)
        return {
            "next": following, "silences": msgspec.to_builtins(list(self.silences.values())),
            "open": msgspec.to_builtins([o.row for o in self._open.values()]),
        }

    @property
    def busy(self) -> bool:
        return bool(self._open or self.silences)

    def told(self, target: str, id: str, trouble: str) -> None:
        """How telling a target went; empty: well."""
        for entry in self._open.values():
            if entry.row.id == id:
                entry.row = _with_trouble(entry.row, target, trouble)
        if id in self._ended:
            self._ended[id] = _with_trouble(self._ended[id], target, trouble)

    def rows(self) -> list[AlertRow]:
        """Open ones first, the latest first."""
        open_rows = sorted((o.row for o in self._open.values()), key=lambda r: -r.since)
        return [*open_rows, *reversed(self._ended.values())]

    # time

    def step(self, conditions: Iterable[Condition], now: float) -> list[Notice]:
        """Alerts begin, grow and end; what is to be told now."""
        for id in [s.id for s in self.silences.values() if s.until <= now]:
            del self.silences[id]
        held: dict[tuple[str, str], tuple[int, list[Condition]]] = {}
        for condition in conditions:
            for n, rule in enumerate(self.settings.rules):
                if matches(rule, condition, now):
                    held.setdefault((rule.when, condition.group), (n, []))[1].append(condition)
                    break
        notices: list[Notice] = []
        for key, (n, members) in held.items():
            notices += self._holds(key, n, members, now)
        for key in [k for k in self._open if k not in held]:
            notices += self._quiet(key, now)
        return notices

    def next_due(self, conditions: Iterable[Condition], now: float) -> float:
        """When `step` has something to do although nothing changes."""
        times = [o.due for o in self._open.values() if o.due is not None]
        times += [o.last + QUIET for o in self._open.values()]
        times += [s.until for s in self.silences.values()]
        for condition in conditions:
            times += [
                condition.since + r.holds_for for r in self.settings.rules
                if r.when == condition.kind and condition.since + r.holds_for > now
            ]
        return min(times, default=now + 3600.0)

    def _holds(self, key: tuple[str, str], n: int, found: list[Condition], now: float) -> list[Notice]:
        rule = self.settings.rules[n]
        first = min(found, key=lambda c: (c.since, c.key))
        names = tuple(dict.fromkeys(c.name for c in sorted(found, key=lambda c: (c.since, c.key))))
        entry = self._open.get(key)
        if entry is None:
            row = AlertRow(id=f"a{next(self._numbers)}", when=key[0], group=key[1], since=first.since, to=rule.to)
            entry = self._open[key] = _Open(row, now, due=now + self.settings.collect)
        entry.last = max(entry.last, now)
        members = tuple(dict.fromkeys([*entry.row.members, *names]))[:MEMBERS]
        text = first.text if len(names) == 1 else f"{first.name}: {first.text}; and {len(names) - 1} more"
        entry.row = self._dressed(
            msgspec.structs.replace(entry.row, members=members, text=text, mark=first.mark, to=rule.to)
        )
        entry.due = self._due(entry, rule, now)
        if entry.due is None or now < entry.due:
            return []
        entry.due = None
        what = "firing" if entry.row.told is None else "more" if len(members) > entry.told_members else "again"
        entry.told_members = len(members)
        entry.row = msgspec.structs.replace(entry.row, told=now)
        return [Notice(t, what, entry.row, self.cluster) for t in rule.to]

    def _due(self, entry: _Open, rule: Rule, now: float) -> float | None:
        """When it is to be told next, as it stands."""
        told = entry.row.told
        if entry.row.state != FIRING:
            return None
        if told is None:
            return now + self.settings.collect if entry.due is None else entry.due
        if len(entry.row.members) > entry.told_members:
            return max(told + self.settings.again, min(now, entry.due or now))
        return told + rule.repeat

    def _quiet(self, key: tuple[str, str], now: float) -> list[Notice]:
        entry = self._open[key]
        if now - entry.last < QUIET:
            return []
        del self._open[key]
        row = msgspec.structs.replace(entry.row, state=ENDED, ended=entry.last)
        self._ended[row.id] = row
        while len(self._ended) > KEPT:
            del self._ended[next(iter(self._ended))]
        if entry.row.told is None or entry.row.state == SILENCED:
            return []
        return [Notice(t, "ended", row, self.cluster) for t in row.to if t in self.settings.targets]

    def _dressed(self, row: AlertRow) -> AlertRow:
        """Its state, by who acknowledged it and by what silences it."""
        silence = next((s for s in self.silences.values() if silenced(s, row)), None)
        if silence is not None:
            until = f"silenced by {silence.by}{': ' if silence.why else ''}{silence.why}"
            return msgspec.structs.replace(row, state=SILENCED, note=until)
        if row.state == SILENCED:
            return msgspec.structs.replace(row, state=ACKNOWLEDGED if row.by else FIRING, note="")
        return row

    # people

    def acknowledge(self, id: str, by: str, note: str = "") -> AlertRow:
        """Raises Bad."""
        entry = next((o for o in self._open.values() if o.row.id == id), None)
        if entry is None:
            known = ", ".join(o.row.id for o in self._open.values()) or "none"
            raise Bad(f"no open alert {id!r}; open: {known}")
        entry.row = self._dressed(
            msgspec.structs.replace(entry.row, state=ACKNOWLEDGED, by=by, note=note[:500])
        )
        entry.due = None
        return entry.row

    def silence(self, match: str, seconds: float, by: str, why: str, now: float) -> SilenceRow:
        """Raises Bad."""
        if not match or len(match) > 200:
            raise Bad("say what to silence: a name, a kind, or a pattern such as puzzle.*")
        if not 0 < seconds <= LONGEST:
            raise Bad(f"a silence lasts at most {LONGEST / 86400:.0f} days")
        row = SilenceRow(id=f"s{next(self._numbers)}", match=match, until=now + seconds, by=by, why=why[:500])
        self.silences[row.id] = row
        for entry in self._open.values():
            entry.row = self._dressed(entry.row)
        return row

    def unsilence(self, id: str) -> SilenceRow:
        """Raises Bad."""
        if id not in self.silences:
            raise Bad(f"no silence {id!r}; there are {', '.join(self.silences) or 'none'}")
        row = self.silences.pop(id)
        for entry in self._open.values():
            entry.row = self._dressed(entry.row)
        return row


def _with_trouble(row: AlertRow, target: str, trouble: str) -> AlertRow:
    others = tuple(t for t in row.trouble if not t.startswith(f"{target} "))
    return msgspec.structs.replace(row, trouble=(*others, trouble) if trouble else others)


def matches(rule: Rule, condition: Condition, now: float) -> bool:
    """Does this rule tell of it now?"""
    if rule.when != condition.kind or now - condition.since < rule.holds_for:
        return False
    if rule.when == LOOP and sum(now - t <= rule.within for t in condition.times) < rule.restarts:
        return False
    return (
        (not rule.services or any(under(condition.service, p) for p in rule.services))
        and (not rule.hosts or condition.host in rule.hosts)
        and (not rule.regions or condition.region in rule.regions)
    )


def under(service: str, pattern: str) -> bool:
    """Is it this service, one below it, or one that fits?"""
    return bool(service) and (
        service == pattern or service.startswith(pattern + ".") or fnmatchcase(service, pattern)
    )


def silenced(silence: SilenceRow, row: AlertRow) -> bool:
    words = (row.when, row.group, *row.members)
    return any(fnmatchcase(w, silence.match) or under(w, silence.match) for w in words)

