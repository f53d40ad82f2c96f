"""Expected beside actual, field by field: the node view of one instance."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from cockpit.model.actual import Actual, Unit
from cockpit.model.drift import trouble
from cockpit.model.judge import Digests, heard, main_unit, settled
from cockpit.model.states import LIVE, NO_CHECK, OK, State
from cockpit.model.topology import Check, Expected, Service, service_path
from cockpit.model.view import Diff

NOTHING = "-"


def instance_diffs(
    instance: str, expected: Expected, actual: Actual, *, digests: Digests | None = None
) -> tuple[Diff, ...]:
    """Rows for version, state, data, command, health, host, config, ports, role and dependencies."""
    units = actual.units.get(instance, ())
    here = tuple(u for u in units if heard(actual, actual.where.get(u.unit))) or units
    digests = digests or Digests(expected)
    unit = main_unit(instance, here, expected, actual, digests)
    service = expected.services.get(service_path(instance))
    host = expected.placement.get(instance) if service is not None else None
    if service is None or host is None:
        return _unexpected(unit, actual)
    at = actual.where.get(unit.unit, NOTHING) if unit is not None else NOTHING
    silent = not heard(actual, at if unit is not None else host)
    stopped = expected.stopped.get(instance, False)
    config = digests.of(instance)
    artifact = f"{service.artifact}/{service.version}" if service.artifact else ""
    rows = [
        _version(service, unit, actual.artifacts.get(artifact)),
        _state(service, unit, stopped, silent),
        *_data(service, unit, actual),
        *_commands(service, unit),
        _health(service.check, unit, stopped),
        Diff(field="host", expected=host, actual=at, same=unit is None or at == host),
        Diff(
            field="config", expected=config, actual=unit.config or NOTHING if unit is not None else NOTHING,
            same=unit is None or not unit.config or unit.config == config or at != host,
        ),
        *_ports(service, unit),
    ]  # fmt: skip
    role = service.attributes.get("role")
    said = unit.probe.get("role") if unit is not None else None
    if role or said:
        same = not role or not said or role == said
        rows.append(Diff(field="role", expected=role or NOTHING, actual=str(said or NOTHING), same=same))
    rows += [_depends(path, expected, actual) for path in service.depends]
    return tuple(rows)


def _unexpected(unit: Unit | None, actual: Actual) -> tuple[Diff, ...]:
    if unit is None:
        return ()
    at = actual.where.get(unit.unit, NOTHING)
    return (
        Diff(field="state", expected="nothing", actual=unit.state.name, same=False, note=trouble(unit)),
        Diff(field="version", expected=NOTHING, actual=unit.version, same=False),
        Diff(field="host", expected=NOTHING, actual=at, same=False),
        *(
            Diff(field=f"port {n}", expected=NOTHING, actual=str(p), same=False)
            for n, p in unit.ports.items()
        ),
    )


def _sha(sha256: str | None) -> str:
    return f"  sha256 {sha256[:12]}" if sha256 else ""


def _version(service: Service, unit: Unit | None, sha256: str | None) -> Diff:
    want = (service.version or NOTHING) + _sha(sha256)
    if unit is None:
        return Diff(field="version", expected=want, actual=NOTHING, same=False)
    same = unit.version == service.version and not (sha256 and unit.sha256 and unit.sha256 != sha256)
    return Diff(
        field="version", expected=want, actual=(unit.version or NOTHING) + _sha(unit.sha256),
        same=same and not unit.altered, note=unit.altered,
    )  # fmt: skip


def _state(service: Service, unit: Unit | None, stopped: bool, silent: bool) -> Diff:
    want = State.SHUTDOWN if stopped else State.RUNNING
    if unit is None:
        return Diff(
            field="state", expected=want.name, actual="UNKNOWN" if silent else "no unit",
            same=stopped and not silent, note="no answer" if silent else "",
        )  # fmt: skip
    if silent:
        return Diff(
            field="state", expected=want.name, actual="UNKNOWN", same=False,
            note=f"no answer; last heard: {unit.state.name}",
        )  # fmt: skip
    fine = unit.state not in LIVE if stopped else unit.state == State.RUNNING or settled(unit, service)
    note = "" if fine else trouble(unit)
    if unit.pinned:
        note = "; ".join(filter(None, [f"pinned on the host: {unit.pinned}", note]))
    return Diff(field="state", expected=want.name, actual=unit.state.name, same=fine, note=note)


def _data(service: Service, unit: Unit | None, actual: Actual) -> list[Diff]:
    """Expected version and digest of each data artifact; beside it what the unit was given."""
    rows = []
    for name, data in service.data.items():
        artifact = f"{data.artifact}/{data.version}"
        have = unit.data.get(name, "") if unit is not None else ""
        rows.append(Diff(
            field=f"data {name}", expected=artifact + _sha(actual.artifacts.get(artifact)),
            actual=f"{data.artifact}/{have}" if have else NOTHING,
            same=unit is None or have == data.version or not data.version,
            note=f"a change sends {data.signal}" if data.on_change == "signal" else f"a change: {data.on_change}",
        ))  # fmt: skip
    return rows


def _commands(service: Service, unit: Unit | None) -> list[Diff]:
    """Templates as declared; beside them what the ports of the unit make of them."""
    rows = []
    for name, argv in service.processes.items():
        want = shlex.join(argv).replace("'{", "{").replace("}'", "}")
        have = NOTHING if unit is None else shlex.join([_filled(a, unit) for a in argv])
        field = "command" if len(service.processes) == 1 else f"command {name}"
        rows.append(Diff(field=field, expected=want, actual=have))
    return rows


def _filled(word: str, unit: Unit) -> str:
    if len(unit.ports) == 1:
        word = word.replace("{port}", str(next(iter(unit.ports.values()))))
    for name, port in unit.ports.items():
        word = word.replace("{port." + name + "}", str(port))
    return word.replace("{version}", unit.version).replace("{instance}", unit.instance)


def check_words(check: Check | None) -> str:
    """`tcp main`, `http /health`, `exec ./probe`, `notify`, or that there is none."""
    if check is None:
        return "no check"
    if check.http is not None:
        return f"http {check.http.path}"
    if check.tcp is not None:
        return f"tcp {check.tcp}".strip()
    if check.exec is not None:
        return f"exec {shlex.join(check.exec)}"
    return "notify"


def _health(check: Check | None, unit: Unit | None, stopped: bool) -> Diff:
    want = check_words(check) + (" ok" if check is not None else "")
    if unit is None or unit.state not in LIVE:
        return Diff(field="health", expected=NOTHING if stopped else want, actual=NOTHING)
    return Diff(
        field="health", expected=want, actual=unit.health, same=unit.health in (OK, NO_CHECK),
        note=unit.health_reason,
    )  # fmt: skip


def _ports(service: Service, unit: Unit | None) -> list[Diff]:
    have: Mapping[str, int] = unit.ports if unit is not None else {}
    rows = []
    for name, number in service.ports.items():
        port = have.get(name)
        rows.append(Diff(
            field=f"port {name}", expected=str(number) if number else "dynamic",
            actual=str(port) if port else NOTHING, same=not number or not port or number == port,
        ))  # fmt: skip
    return rows


def _depends(path: str, expected: Expected, actual: Actual) -> Diff:
    want = [i for i in expected.placement if service_path(i) == path]
    ready = sum(
        1 for i in want
        if any(u.serving and heard(actual, actual.where.get(u.unit)) for u in actual.units.get(i, ()))
    )  # fmt: skip
    return Diff(
        field="depends on", expected=path, actual=f"{path} ({ready} of {len(want)} ready)",
        same=ready > 0 or not want,
    )  # fmt: skip
