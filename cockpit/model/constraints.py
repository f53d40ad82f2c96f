"""Placement constraints: `label=value`, `label!=value`, `region=sh`, `host!=sh-1`."""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from cockpit.model.problems import Wrong
from cockpit.model.topology import Expected, Host, Service

REQUIREMENT = r"^[A-Za-z0-9][A-Za-z0-9_.-]*!?=\S.*$"
OWN_KEYS = ("region", "host")
"""What a constraint or a spread may name beside the labels."""


class Requirement(msgspec.Struct, frozen=True):
    key: str
    """`region`, `host`, or a label."""
    value: str
    equal: bool = True

    def __str__(self) -> str:
        return f"{self.key}{'=' if self.equal else '!='}{self.value}"


@lru_cache(maxsize=1024)
def parse_requirement(text: str) -> Requirement:
    """Raises `Wrong` (a ValueError)."""
    if not re.fullmatch(REQUIREMENT, text):
        raise Wrong(f'"{text[:60]}" is not a constraint; write label=value, label!=value, region=NAME')
    key, _, value = text.partition("=")
    return Requirement(key.removesuffix("!"), value, not key.endswith("!"))


def value_on(name: str, host: Host, key: str) -> str | None:
    """What a host has for `region`, `host` or a label; None when it has no such label."""
    if key == "host":
        return name
    return host.region if key == "region" else host.labels.get(key)


def host_meets(name: str, host: Host, requirement: Requirement | str) -> bool:
    """`label!=value` is also met by a host without the label. Raises `Wrong` for a malformed text."""
    wanted = parse_requirement(requirement) if isinstance(requirement, str) else requirement
    return (value_on(name, host, wanted.key) == wanted.value) == wanted.equal


def eligible_of_all(expected: Expected) -> dict[str, tuple[str, ...]]:
    """`eligible_hosts` of every service by its path; equal constraints are worked out once."""
    worked_out: dict[tuple[str, ...], tuple[str, ...]] = {}
    found = {}
    for path, service in expected.services.items():
        require = service.instances.require
        if service.instances.hosts is None and require in worked_out:
            found[path] = worked_out[require]
            continue
        found[path] = eligible_hosts(expected, service)
        if service.instances.hosts is None:
            worked_out[require] = found[path]
    return found


def eligible_hosts(expected: Expected, service: Service) -> tuple[str, ...]:
    """Hosts where instances of the service may be: its host list, or all that meet its constraints."""
    if service.instances.hosts is not None:
        return tuple(dict.fromkeys(service.instances.hosts))
    wanted = [parse_requirement(text) for text in service.instances.require]
    return tuple(n for n, h in expected.hosts.items() if all(host_meets(n, h, w) for w in wanted))
