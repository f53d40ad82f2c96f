"""Drift: the typed differences between expected and actual, for all or for one instance or host.

Reasons hold no ages, so that a row changes only when the facts do. `since` is when a difference was
first seen (or when the host says it began), kept from the row before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from cockpit.model.actual import Actual, HostActual, Unit
from cockpit.model.judge import Digests, active, heard, is_down, main_unit, settled, wrong_data
from cockpit.model.states import FAILING, LIVE, NO_CHECK, UNKNOWN, State
from cockpit.model.states import OK as HEALTHY
from cockpit.model.topology import Expected, Service, service_path
from cockpit.model.view import DriftRow

MISSING = "missing"
EXTRA = "extra"
WRONG_VERSION = "wrong version"
WRONG_CONFIG = "wrong config"
WRONG_DATA = "wrong data"
WRONG_HOST = "wrong host"
WRONG_ROLE = "wrong role"
UNHEALTHY = "unhealthy"
ALTERED = "altered binary"
SILENT = "unknown"

Rows = tuple[DriftRow, ...]
_RUNNING = State.RUNNING  # looking a member up costs more than comparing it


def drift_key(kind: str, target: str) -> str:
    return f"{kind}|{target}"


def drift_of(
    expected: Expected,
    actual: Actual,
    now: float,
    *,
    before: Mapping[str, DriftRow] | None = None,
    digests: Digests | None = None,
) -> dict[str, DriftRow]:
    """All drift by key (`<kind>|<target>`)."""
    digests = digests or Digests(expected)
    before = before or {}
    result: dict[str, DriftRow] = {}
    hosts = {name for name in actual.hosts if heard(actual, name)}
    services, units, where, stopped = expected.services, actual.units, actual.where, expected.stopped
    odd: list[str] = []
    for instance, host in expected.placement.items():
        # decides the speed of a full pass: nothing is wrong with the only unit, seen at a glance
        own = units.get(instance)
        if own is not None and len(own) == 1 and host in hosts:
            unit = own[0]
            service = services.get(instance.rpartition("/")[0])
            if (
                service is not None
                and unit.state == _RUNNING
                and unit.version == service.version
                and (unit.health == HEALTHY or unit.health == NO_CHECK)
                and (unit.config == digests[instance] or not unit.config)
                and where.get(unit.unit) == host
                and not (unit.pinned or unit.altered or unit.probe)
                and not (service.data and wrong_data(unit, service))
                and instance not in stopped
            ):
                continue
        odd.append(instance)
    odd += [instance for instance, own in units.items() if own and instance not in expected.placement]
    for instance in odd:
        for row in drift_of_instance(instance, expected, actual, now, digests=digests, before=before):
            result[drift_key(row.kind, row.target)] = row
    for host in expected.hosts:
        for row in drift_of_host(host, expected, actual, now, before=before):
            result[drift_key(row.kind, row.target)] = row
    return result


def drift_of_host(
    host: str,
    expected: Expected,
    actual: Actual,
    now: float,
    *,
    before: Mapping[str, DriftRow] | None = None,
) -> Rows:
    """`unknown` for an expected host that gives no answer."""
    if host not in expected.hosts or heard(actual, host):
        return ()
    seen = actual.hosts.get(host) or HostActual(name=host, presence=UNKNOWN, reason="never heard")
    row = DriftRow(
        kind=SILENT, target=host, expected="up", actual=seen.presence, action="", since=seen.since,
        reason=seen.reason or "no answer",
    )  # fmt: skip
    return _dated((row,), now, before or {})


def drift_of_instance(
    instance: str,
    expected: Expected,
    actual: Actual,
    now: float,
    *,
    digests: Digests,
    before: Mapping[str, DriftRow] | None = None,
) -> Rows:
    """The drift of one instance, expected or not; empty when it is as it should be."""
    units = actual.units.get(instance, ())
    host = expected.placement.get(instance)
    service = expected.services.get(service_path(instance)) if host is not None else None
    if service is None or host is None:
        rows = _unexpected(instance, units, actual)
    else:
        rows = _expected(instance, units, host, service, expected, actual, digests)
    return _dated(rows, now, before or {}) if rows else ()


def _dated(rows: Rows, now: float, before: Mapping[str, DriftRow]) -> Rows:
    result = []
    for row in rows:
        old = before.get(drift_key(row.kind, row.target))
        since = old.since if old is not None else (now if row.since is None else row.since)
        result.append(row if row.since == since else replace(row, since=since))
    return tuple(result)


def _at(unit: Unit, actual: Actual) -> str:
    return f"{unit.unit} {unit.state.name} on {actual.where.get(unit.unit, '?')}"


def _extra(instance: str, expected: str, units: Iterable[Unit], actual: Actual) -> DriftRow:
    return DriftRow(
        kind=EXTRA, target=instance, expected=expected, actual=", ".join(_at(u, actual) for u in units),
        action=f"converge {instance}",
    )  # fmt: skip


def _unexpected(instance: str, units: tuple[Unit, ...], actual: Actual) -> Rows:
    here = [u for u in units if heard(actual, actual.where.get(u.unit))]
    if not here:
        return ()  # nobody can say whether it still is; it shows as extra when its host is back
    row = _extra(instance, "nothing", here, actual)
    pin = next((u.pinned for u in here if u.pinned), "")
    return (replace(row, action=f"stop {instance}", reason=f"pinned on the host: {pin}") if pin else row,)


def _expected(
    instance: str,
    units: tuple[Unit, ...],
    host: str,
    service: Service,
    expected: Expected,
    actual: Actual,
    digests: Digests,
) -> Rows:
    where = actual.where
    here = tuple(u for u in units if heard(actual, where.get(u.unit)))
    stopped = expected.stopped.get(instance, False)
    if not here and not heard(actual, host):
        last = units[-1].state.name if units else "never seen"
        return (DriftRow(
            kind=SILENT, target=instance, expected="SHUTDOWN" if stopped else "RUNNING", actual=last,
            action="", since=actual.hosts[host].since if host in actual.hosts else None,
            reason=f"{host} is down" if is_down(actual, host) else f"{host} gives no answer",
        ),)  # fmt: skip
    unit = main_unit(instance, here, expected, actual, digests)
    pin = next((u.pinned for u in here if u.pinned), "")
    if stopped:
        rows = _stopped(instance, here, host, actual)
    else:
        rows = _running(instance, unit, host, service, where, digests)
        rest = [u for u in here if u is not unit]
        if rest:
            rows.append(_extra(instance, "one unit", rest, actual))
    if pin:  # converge leaves alone what somebody on the host did: only an explicit verb overrides it
        verb = "stop" if stopped else "restart" if unit is not None and active(unit) else "start"
        rows = [replace(r, action=f"{verb} {instance}", reason=f"pinned on the host: {pin}") for r in rows]
    return tuple(rows)


def _stopped(instance: str, units: tuple[Unit, ...], host: str, actual: Actual) -> list[DriftRow]:
    there = [u for u in units if actual.where[u.unit] == host]
    stays = max(there, key=lambda u: (u.state in LIVE, u.gen), default=None)
    wrong = [u for u in units if u is not stays or active(u)]
    return [_extra(instance, "SHUTDOWN", wrong, actual)] if wrong else []


def _running(
    instance: str,
    unit: Unit | None,
    host: str,
    service: Service,
    where: Mapping[str, str],
    digests: Digests,
) -> list[DriftRow]:
    def row(kind: str, want: str, have: str, **more: object) -> DriftRow:
        return DriftRow(
            kind=kind, target=instance, expected=want, actual=have,
            action=f"converge {instance}", **more,  # type: ignore[arg-type]
        )  # fmt: skip

    if unit is None:
        return [row(MISSING, f"RUNNING on {host}", "no unit")]
    rows: list[DriftRow] = []
    at = where[unit.unit]
    if unit.altered:
        rows.append(row(ALTERED, "the release as installed", unit.altered, reason=unit.altered))
    if at != host:
        rows.append(row(WRONG_HOST, host, at))
    if unit.version != service.version:
        rows.append(row(WRONG_VERSION, service.version, unit.version))
    elif at == host and unit.config and unit.config != digests.of(instance):
        rows.append(row(WRONG_CONFIG, digests.of(instance), unit.config))
    data = wrong_data(unit, service) if at == host and (unit.state in LIVE or settled(unit, service)) else ()
    if data:
        want = ", ".join(f"{n} {service.data[n].version}" for n in data)
        rows.append(row(WRONG_DATA, want, ", ".join(f"{n} {unit.data.get(n) or 'none'}" for n in data)))
    want_role, role = service.attributes.get("role"), unit.probe.get("role")
    if want_role and isinstance(role, str) and role != want_role and unit.state in LIVE:
        rows.append(row(WRONG_ROLE, want_role, role))
    if unit.state in (State.FAILED, State.REJECTED):
        rows.append(row(
            UNHEALTHY, "RUNNING", unit.state.name, reason=trouble(unit),
            since=unit.exit.ended if unit.exit is not None and unit.exit.ended else None,
        ))  # fmt: skip
    elif unit.state == State.STARTING:
        rows.append(row(UNHEALTHY, "RUNNING", "STARTING", reason=trouble(unit), since=unit.started))
    elif unit.state == State.RUNNING:
        if unit.health not in (HEALTHY, NO_CHECK):
            rows.append(row(
                UNHEALTHY, HEALTHY, unit.health, reason=trouble(unit), since=unit.health_since
            ))  # fmt: skip
    elif not settled(unit, service):
        rows.append(row(MISSING, f"RUNNING on {host}", unit.state.name, reason=trouble(unit)))
    return rows


def trouble(unit: Unit) -> str:
    """Why a unit is not serving, in words; empty when nobody says."""
    ended = unit.exit.words() if unit.exit is not None else ""
    if ended and unit.exit is not None and unit.exit.reason and unit.exit.reason not in ended:
        ended += f" ({unit.exit.reason})"
    if unit.state == State.RUNNING:
        return unit.health_reason or ("health check fails" if unit.health == FAILING else unit.health)
    if unit.state == State.STARTING:
        why = unit.health_reason or "not healthy yet"
        return f"{why}; before that {ended}" if ended and unit.restarts else why
    times = f", restarted {unit.restarts} times" if unit.restarts > 1 else ""
    if unit.state == State.FAILED:
        hope = "; tries again" if unit.next_start is not None else "; gave up" if unit.restarts else ""
        return f"{ended or 'failed'}{times}{hope}"
    if unit.state == State.REJECTED:
        return f"could not run: {ended or unit.altered or 'no reason given'}"
    return ended
