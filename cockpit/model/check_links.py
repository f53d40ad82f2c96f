"""What must hold for the ways to hosts, for runtimes, schedules and further log files."""

from __future__ import annotations

from collections.abc import Callable

from cockpit.model.constraints import parse_requirement
from cockpit.model.problems import Path, Report, Wrong
from cockpit.model.templates import check_template
from cockpit.model.topology import Expected, Service

OWN_LOGS = ("stdout", "stderr")


def check_links(
    expected: Expected, values: dict[str, set[str]], to: Report, spot: Callable[[str], Path]
) -> None:
    """`values`: what a constraint can name -> its values on the hosts."""
    _hosts(expected, to)
    _relays(expected, to)
    for name, schedule in expected.schedules.items():
        if schedule.cron and not schedule.cron.startswith("@") and len(schedule.cron.split()) != 5:
            text = f'"{schedule.cron}" is no schedule: five fields or @hourly and the like are wanted'
            to.problem(("schedules", name, "cron"), text)
        for n, requirement in enumerate(schedule.hosts):
            key = parse_requirement(requirement).key
            if key not in values:
                place = ("schedules", name, "hosts", str(n))
                to.problem(place, f'no host has a label "{key}"', to.near(key, values))
    for path, service in expected.services.items():
        _runtime(path, service, to, spot)
        _logs(path, service, to, spot)


def _hosts(expected: Expected, to: Report) -> None:
    for name, host in expected.hosts.items():
        place = ("hosts", name, "ssh")
        if host.ssh is None:
            continue
        if host.connection == "local":
            to.problem(place, "a local host is on this machine: it needs no ssh")
        elif host.connection == "ssh" and (host.ssh.listen or host.ssh.listen_origin):
            to.problem(place, "nobody would dial in: a host with `connection: ssh` has no agent")
        elif host.connection == "agent" and not host.ssh.listen:
            to.problem(place, "say at which port the controller appears there: listen (or `connection: ssh`)")


def _relays(expected: Expected, to: Report) -> None:
    for name, relay in expected.relays.items():
        place = ("relays", name)
        if relay.link_port == 0 and relay.connection != "local":
            to.problem((*place, "link_port"), "a relay on its own machine needs a port that others know")
        if relay.link_port and relay.link_port == relay.port:
            to.problem((*place, "link_port"), "links and artifacts need a port each")
        if relay.ssh is not None and (relay.connection == "local" or not relay.ssh.listen):
            to.problem((*place, "ssh"), "a relay that is entered needs `listen`, and is on a machine of its own")
        above = expected.relays.get(relay.upstream)
        if relay.link_port is not None and above is not None and above.link_port is None:
            text = f"{relay.upstream} carries no links: give it a link_port, too"
            to.problem((*place, "upstream"), text)


def _runtime(path: str, service: Service, to: Report, spot: Callable[[str], Path]) -> None:
    runtime, place = service.runtime, (*spot(path), "runtime")
    if runtime is None:
        return
    given = [key for key in ("systemd", "supervisord", "pidfile") if getattr(runtime, key) is not None]
    if len(given) != 1:
        to.problem(place, "exactly one of systemd, supervisord and pidfile is wanted")
    for key in given:
        _template(getattr(runtime, key), service, (*place, key), to)


def _logs(path: str, service: Service, to: Report, spot: Callable[[str], Path]) -> None:
    for name, template in service.logs.items():
        place = (*spot(path), "logs", name)
        if name in OWN_LOGS:
            to.problem(place, f'"{name}" is its own output: choose another name', name=True)
        _template(template, service, place, to)


def _template(template: str, service: Service, place: Path, to: Report) -> None:
    try:
        check_template(template, service.ports, service.data)
    except Wrong as e:
        to.problem(place, str(e), e.hint)
