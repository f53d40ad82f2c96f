"""The registry of endpoints: who may take traffic, as a pure state machine.

It is fed observations of units and the operator's intents, and never empties a service by mistake:

- an exit confirmed by a keeper and an operator's intent always pass;
- lost contact with a host removes nothing;
- failed health removes endpoints only down to a floor per service, the larger of one and a share
  (half) of the units that served before and are still wanted;
- a unit that flaps is held out until it is stable, also only down to the floor;
- after a restart everything stays as last known until its host has reported its full set.

No I/O, no clock: `now` is Unix time and comes in as an argument.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from cockpit.model.actual import Endpoint, Unit
from cockpit.model.states import ENDED, FAILING, LIVE, WAITING, State
from cockpit.naming.tracks import Dump, Hold, Track

READY = "ready"
DRAINING = "draining"
GONE = "gone"

GONE_FOR = 60.0
"""Seconds a gone endpoint is remembered, with who and why."""
FLAPS = 3
FLAP_WINDOW = 60.0
STABLE = 10.0
"""More than FLAPS failures within FLAP_WINDOW: held out until STABLE seconds of good health."""

Key = tuple[str, str]
"""Unit id, port name."""

_T = TypeVar("_T")


class Registry:
    """All endpoints of a cluster, and a version that grows with every published change.

    `floor` is the share of a service's serving units that failed health cannot remove.
    """

    def __init__(self, *, floor: float = 0.5) -> None:
        self.version = 0
        self.rows = 0
        """Grows with every change of `endpoints`, also of those that are not published."""
        self.moved: set[Key] = set()
        """Keys of rows that were written or dropped since whoever shows them cleared it."""
        self.endpoints: dict[Key, Endpoint] = {}
        """By (unit, port name); read only for others."""
        self._floor = floor
        self._tracks: dict[str, Track] = {}
        self._by_service: dict[str, dict[str, Track]] = {}
        self._by_host: dict[str, set[str]] = {}
        self._keys: dict[str, set[Key]] = {}
        """Service -> keys of its endpoints."""
        self._unit_keys: dict[str, set[Key]] = {}
        self._held: dict[str, Hold] = {}
        self._changed: dict[str, int] = {}
        """Service -> version of its last published change."""
        self._gone: set[Key] = set()
        self._damped: set[str] = set()
        self._uneasy: set[str] = set()
        """Services of which a unit failed or flapped when they were settled last."""
        self._waiting: set[str] = set()
        self._latest = 0.0
        self.unkept: set[str] = set()
        """Services that are not any more what `kept_of` gave; whoever keeps them clears it."""

    # observations

    def observe(
        self,
        unit: Unit,
        host_name: str,
        host_address: str,
        service: str,
        attributes: Mapping[str, str],
        now: float,
    ) -> bool:
        """Take in one report. True when an endpoint's row changed (compare `version` for names)."""
        self._latest = max(self._latest, now)
        if unit.state == State.ORPHANED:
            return False  # a guess about a lost host, not a report from it
        if service not in self._changed:
            self._touch(service)
        old = self._tracks.get(unit.unit)
        track = Track(
            unit=unit.unit, instance=unit.instance, service=service, host=host_name, address=host_address,
            ports=dict(unit.ports), attributes=dict(attributes), run=unit.run, alive=unit.state in LIVE,
            good=unit.serving, proved=unit.serving, why="" if unit.serving else _reason(unit), since=now,
            leaving=unit.state in ENDED and not (unit.state == State.FAILED and unit.wanted),
        )
        if old is not None:
            track.served, track.flaps, track.damped = old.served, old.flaps, old.damped
            if old.run == unit.run and old.alive and track.alive:
                track.proved |= old.proved
                if unit.state == State.STARTING or unit.health == WAITING:
                    # An agent that began anew has not checked this run yet: no news.
                    track.good, track.why = old.good, old.why
            if old.good == track.good:
                track.since = old.since
            failed = old.good and not (track.good and unit.run == old.run)
            if failed and not track.leaving and unit.unit not in self._held:
                self._flapped(track, now)
            if track == old:
                return False
            if (old.service, old.host) != (service, host_name):
                self.unkept.add(old.service)
                self._unlink(old)
        self._tracks[unit.unit] = track
        self._by_service.setdefault(service, {})[unit.unit] = track
        self._by_host.setdefault(host_name, set()).add(unit.unit)
        self.unkept.add(service)
        return self._settle(track, now)

    def host_lost(self, host: str) -> None:
        """Contact is lost. Removes nothing; its units no longer count as surely good for the floor."""
        for unit in self._by_host.get(host, ()):
            self._tracks[unit].heard = False

    def full_report(self, host: str, unit_ids: Collection[str], now: float) -> bool:
        """The host's agent named all its units: those that it did not name are gone.

        With no ids: the host itself left the topology.
        """
        self._latest = max(self._latest, now)
        self._waiting.discard(host)
        missing = sorted(self._by_host.get(host, set()).difference(unit_ids))
        return any([self._leave(unit, f"no longer on {host}", now) for unit in missing])

    # intents

    def drain(self, unit: str, by: str, why: str, now: float) -> bool:
        """No new traffic for this unit, also when it is not known yet. Passes always."""
        return self.drain_all((unit,), by, why, now)

    def drain_all(self, units: Iterable[str], by: str, why: str, now: float) -> bool:
        """The same for several: each of their services is decided anew once."""
        self._latest = max(self._latest, now)
        services: dict[str, None] = {}
        for unit in units:
            if unit not in self._held:
                self._held[unit] = Hold(by, why, now)
                if (track := self._tracks.get(unit)) is not None:
                    services[track.service] = None
        return any([self._settle_service(service, now) for service in services])

    def undrain(self, unit: str, now: float | None = None) -> bool:
        """Back to what its health says."""
        return self.undrain_all((unit,), now)

    def undrain_all(self, units: Iterable[str], now: float | None = None) -> bool:
        """The same for several: each of their services is decided anew once."""
        found = (self._tracks.get(unit) for unit in units if self._held.pop(unit, None) is not None)
        services = dict.fromkeys([track.service for track in found if track is not None])
        return any([self._settle_service(service, self._time(now)) for service in services])

    def forget(self, unit: str, now: float | None = None) -> bool:
        """The keeper forgot the unit, or an operator took it out of the books."""
        self._latest = max(self._latest, self._time(now))
        return self._leave(unit, "removed", self._time(now))

    # time

    def expire(self, now: float) -> bool:
        """Drop what is long gone, let back in what is stable again. Call about once a second."""
        self._latest = max(self._latest, now)
        changed = False
        for key in [k for k in self._gone if now - self.endpoints[k].since >= GONE_FOR]:
            self._drop(key)
            changed = True
        for unit in sorted(self._damped):
            track = self._tracks[unit]
            if track.good and now - track.since >= STABLE:
                track.damped = False
                track.flaps = []
                self._damped.discard(unit)
                changed |= self._settle_service(track.service, now)
        return changed

    # what is published

    def services(self) -> dict[str, list[dict[str, Any]]]:
        """The `services` of a full names frame: path -> endpoints; gone ones are not in it."""
        return {path: self.published(path) for path in self.paths()}

    def paths(self) -> list[str]:
        """Every service of a full names frame."""
        return sorted(self._keys.keys() | self._by_service.keys())

    def published(self, service: str) -> list[dict[str, Any]]:
        """The endpoints of one service in a names frame."""
        return [_frame(e) for e in self._live(service)]

    def changed(self, service: str) -> int:
        """Version of its last published change."""
        return self._changed.get(service, 0)

    def changed_since(self, version: int) -> list[str]:
        """The services of `delta_since`."""
        return self.paths() if version > self.version else [p for p, v in self._changed.items() if v > version]

    def delta_since(self, version: int) -> tuple[int, dict[str, list[dict[str, Any]]]]:
        """The present version and every service that changed after `version`.

        A service without endpoints is an empty list. A version that was never given out gets all.
        """
        return self.version, {path: self.published(path) for path in self.changed_since(version)}

    def at_least(self, version: int) -> None:
        """A host has applied `version`, which these books do not know (they were lost): go beyond it."""
        if version > self.version:
            self.version = version + 1
            self._changed = dict.fromkeys(self._changed, self.version)

    # restart of the controller

    def settle(self, hosts_expected: Iterable[str]) -> None:
        """Wait for the full report of these hosts; what is last known of them stays until then.

        Called again it replaces the list, so that a host that is given up can be left out.
        """
        self._waiting = set(hosts_expected)

    @property
    def waiting(self) -> frozenset[str]:
        """Hosts whose full report is still awaited. Publish for the first time when it is empty."""
        return frozenset(self._waiting)

    def dump(self) -> dict[str, Any]:
        """Everything worth keeping, as JSON."""
        tracks, endpoints = list(self._tracks.values()), list(self.endpoints.values())
        doc = msgspec.to_builtins(Dump(self.version, tracks, endpoints, self._held, self._changed))
        assert isinstance(doc, dict)
        return doc

    def kept_of(self, service: str) -> dict[str, Any] | None:
        """What is worth keeping of one service, to be written as JSON soon; None: there is nothing of it any more."""
        tracks = list(self._by_service.get(service, {}).values())
        endpoints = [self.endpoints[key] for key in self._keys.get(service, ())]
        return {"tracks": tracks, "endpoints": endpoints} if tracks or endpoints else None

    def kept(self) -> dict[str, Any]:
        """The rest of what is worth keeping."""
        held = {unit: msgspec.to_builtins(hold) for unit, hold in self._held.items()}
        return {"version": self.version, "held": held, "changed": dict(self._changed)}

    @classmethod
    def load_kept(cls, rest: Mapping[str, Any], services: Iterable[Mapping[str, Any]]) -> Registry:
        """The last known good, from what `kept` and `kept_of` gave. Raises ValueError when they are not that.

        What an earlier version kept as one is taken as well.
        """
        tracks, endpoints = list(rest.get("tracks", ())), list(rest.get("endpoints", ()))
        for one in services:
            tracks += one.get("tracks", ())
            endpoints += one.get("endpoints", ())
        new = cls.load({**rest, "tracks": tracks, "endpoints": endpoints})
        if "tracks" in rest:
            new.unkept.update(new._by_service, new._keys)
        return new

    @classmethod
    def load(cls, doc: Mapping[str, Any], *, floor: float = 0.5) -> Registry:
        """The last known good. Raises ValueError when `doc` is not what `dump` gave."""
        try:
            kept = msgspec.convert(doc, Dump)
        except msgspec.ValidationError as e:
            raise ValueError(f"kept names are damaged: {e}") from None
        new = cls(floor=floor)
        new.version, new._changed, new._held = kept.version, kept.changed, kept.held
        for track in kept.tracks:
            track.heard = False
            new._tracks[track.unit] = track
            new._by_service.setdefault(track.service, {})[track.unit] = track
            new._by_host.setdefault(track.host, set()).add(track.unit)
            new._uneasy.add(track.service)  # until it is settled
            if track.damped:
                new._damped.add(track.unit)
        for endpoint in kept.endpoints:
            key = (endpoint.unit, endpoint.name)
            new.endpoints[key] = endpoint
            new._index(key, endpoint)
            if endpoint.state == GONE:
                new._gone.add(key)
        return new

    # inside

    def _time(self, now: float | None) -> float:
        return self._latest if now is None else now

    def _flapped(self, track: Track, now: float) -> None:
        track.flaps = [t for t in track.flaps if now - t < FLAP_WINDOW] + [now]
        track.since = now
        if len(track.flaps) > FLAPS:
            track.damped = True
            self._damped.add(track.unit)

    def _least(self, tracks: Iterable[Track]) -> int:
        served = sum(1 for t in tracks if t.served and not t.leaving and t.unit not in self._held)
        return max(1, math.ceil(served * self._floor))

    def _settle(self, track: Track, now: float) -> bool:
        """Decide one unit anew, and the others of its service where they hang on each other."""
        if track.service not in self._uneasy and (alone := self._settle_alone(track, now)) is not None:
            return alone
        return self._settle_service(track.service, now)

    def _settle_alone(self, t: Track, now: float) -> bool | None:
        """Decide a unit by itself; None for one that fails or flaps: it may have to stay for the floor."""
        hold = self._held.get(t.unit)
        if not t.alive or not t.proved:
            # The process went, or the new one was never good: nothing to protect.
            return self._take_out(t, t.why, hold.by if hold else "keeper", now)
        if hold is not None:
            return self._put(t, DRAINING, hold.why, hold.by, hold.since)
        return self._put(t, READY, "", "", now) if t.good and not t.damped else None

    def _settle_service(self, service: str, now: float) -> bool:
        """Decide every unit of one service anew. O(its units)."""
        self.unkept.add(service)
        tracks = self._by_service.get(service, {})
        changed = False
        sure, shaky, failing = 0, [], []
        least = self._least(tracks.values())
        for t in tracks.values():
            alone = self._settle_alone(t, now)
            if alone is not None:
                changed |= alone
                sure += t.heard and t.alive and t.proved and t.unit not in self._held
            elif t.good:
                shaky.append(t)
            else:
                failing.append(t)
        (self._uneasy.add if shaky or failing else self._uneasy.discard)(service)
        # A kept unit was not removed; one that is already out is never put back for the floor
        # while its health fails, but one that flaps and is good now is.
        for t in sorted(shaky, key=lambda t: (t.since, t.unit)):
            if sure < least:
                sure += t.heard
                changed |= self._put(t, READY, "flapping; kept: too few others are ready", "", now)
            else:
                why = f"flapping: {len(t.flaps)} failures, held out until stable for {STABLE:.0f} s"
                changed |= self._take_out(t, why, "registry", now, again=True)
        for t in sorted(failing, key=lambda t: (-t.since, t.unit)):
            if sure < least and self._is_ready(t):
                sure += t.heard
                changed |= self._put(t, READY, f"{t.why}; kept: too few others are ready", "", now)
            else:
                changed |= self._take_out(t, t.why, "health check", now)
        return changed

    def _is_ready(self, track: Track) -> bool:
        return any(self.endpoints[key].state == READY for key in self._unit_keys.get(track.unit, ()))

    def _put(self, track: Track, state: str, why: str, by: str, since: float) -> bool:
        """Set all endpoints of a unit; ports that it no longer has go."""
        track.served = track.served or state == READY
        changed = False
        for key in sorted(self._unit_keys.get(track.unit, ())):
            if key[1] not in track.ports and self.endpoints[key].state != GONE:
                changed |= self._mark_gone(key, "the port is no longer there", "keeper", since)
        for name, port in track.ports.items():
            key = (track.unit, name)
            old = self.endpoints.get(key)
            new = Endpoint(
                service=track.service, instance=track.instance, unit=track.unit, host=track.host, name=name,
                address=track.address, port=port, state=state, attributes=track.attributes,
                since=old.since if old is not None and old.state == state else since, why=why, by=by,
            )
            changed |= self._write(key, new)
        return changed

    def _take_out(self, track: Track, why: str, by: str, now: float, *, again: bool = False) -> bool:
        """All endpoints of a unit are gone. Those that were keep their first reason unless `again`."""
        keys = sorted(self._unit_keys.get(track.unit, ()))
        return any(
            [self._mark_gone(k, why, by, now) for k in keys if again or self.endpoints[k].state != GONE]
        )

    def _mark_gone(self, key: Key, why: str, by: str, now: float) -> bool:
        old = self.endpoints[key]
        since = old.since if old.state == GONE else now
        return self._write(key, msgspec.structs.replace(old, state=GONE, why=why, by=by, since=since))

    def _leave(self, unit: str, why: str, now: float) -> bool:
        """The unit exists no more: endpoints that are not gone yet go, and its track is dropped."""
        track = self._tracks.pop(unit, None)
        hold = self._held.pop(unit, None)
        if track is None:
            return False
        changed = self._take_out(track, why, hold.by if hold else "keeper", now)
        self.unkept.add(track.service)
        self._unlink(track)
        self._damped.discard(unit)
        return (track.service in self._uneasy and self._settle_service(track.service, now)) or changed

    def _unlink(self, track: Track) -> None:
        units = self._by_service.get(track.service, {})
        units.pop(track.unit, None)
        if not units:
            self._by_service.pop(track.service, None)
        _discard(self._by_host, track.host, track.unit)

    def _write(self, key: Key, new: Endpoint) -> bool:
        old = self.endpoints.get(key)
        if old == new:
            return False
        self.endpoints[key] = new
        self.rows += 1
        self.moved.add(key)
        self.unkept.add(new.service)
        if old is not None and old.service != new.service:
            _discard(self._keys, old.service, key)
            self.unkept.add(old.service)
            self._touch(old.service)
        self._index(key, new)
        (self._gone.add if new.state == GONE else self._gone.discard)(key)
        if old is None or _published(old) != _published(new):
            self._touch(new.service)
        return True

    def _index(self, key: Key, endpoint: Endpoint) -> None:
        self._keys.setdefault(endpoint.service, set()).add(key)
        self._unit_keys.setdefault(endpoint.unit, set()).add(key)

    def _touch(self, service: str) -> None:
        self.version += 1
        self._changed[service] = self.version

    def _drop(self, key: Key) -> None:
        endpoint = self.endpoints.pop(key)
        self.rows += 1
        self.moved.add(key)
        self._gone.discard(key)
        self.unkept.add(endpoint.service)
        _discard(self._keys, endpoint.service, key)
        _discard(self._unit_keys, endpoint.unit, key)

    def _live(self, service: str) -> list[Endpoint]:
        live = [e for e in (self.endpoints[k] for k in self._keys.get(service, ())) if e.state != GONE]
        return sorted(live, key=lambda e: (_slot(e.instance), e.unit, e.name))


def _discard(index: dict[str, set[_T]], name: str, item: _T) -> None:
    """Take an item out of an index of sets; an empty set goes too."""
    items = index.get(name)
    if items is not None:
        items.discard(item)
        if not items:
            del index[name]


def _slot(instance: str) -> int:
    slot = instance.rpartition("/")[2]
    return int(slot) if slot.isdecimal() else 0


def _published(e: Endpoint) -> tuple[Any, ...] | None:
    """What subscribers see of it; None: nothing."""
    if e.state == GONE:
        return None
    return (e.service, e.address, e.port, e.name, e.state, e.instance, e.attributes)


def _frame(e: Endpoint) -> dict[str, Any]:
    return {
        "address": e.address,
        "port": e.port,
        "name": e.name,
        "state": e.state,
        "instance": e.instance,
        "attributes": dict(e.attributes),
    }


def _reason(unit: Unit) -> str:
    """Why a unit takes no traffic, in words."""
    if unit.state == State.RUNNING:
        return unit.health_reason or ("health check fails" if unit.health == FAILING else unit.health)
    if unit.state in ENDED and unit.exit is not None:
        return unit.exit.words()
    return unit.state.name.lower()
