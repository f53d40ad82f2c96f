"""From what was found on a host to what is to be done. Pure: the same look gives the same steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from cockpit.bootstrap import bundles, texts
from cockpit.bootstrap.bundles import Bundle, NoBundle
from cockpit.bootstrap.found import Found

NEEDED = ("sha256sum", "mkdir", "mv", "cat", "rm", "ln")


class Refused(ValueError):
    """Nothing is done on this host; the sentence says why, and what would help."""


@dataclass(frozen=True)
class Wish:
    """What the operator, the topology and the controller say about one host."""

    host: str
    cluster: str
    connection: str
    """Of the topology: agent, ssh or local."""
    uuid: str = ""
    """Of the host's agent, as the controller believes it; empty: none has joined."""
    switch: bool = False
    systemd: bool = True


@dataclass(frozen=True)
class Step:
    """`word` is one of upload, join, switch, restart, unit, enable, start, cron."""

    word: str
    text: str
    """What it does, for the operator."""
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    program: tuple[str, ...]
    unpack: str
    bundle: Bundle | None = None
    """What is uploaded; None: what is there stays."""


def candidates(wish: Wish, found_uid_is_root: bool, gateway: str) -> list[str]:
    """Host directories in the order they are looked at; one with an identity wins. `gateway`: the topology's."""
    mine, far = ("/var/lib/cockpit", "/var/lib/cockpit-ssh") if found_uid_is_root else ("~/.cockpit", "~/.cockpit")
    far = gateway or far
    order = [far, mine] if wish.connection == "ssh" else [mine, far]
    return list(dict.fromkeys(order))


def plan(found: Found, wish: Wish, offered: Sequence[Bundle]) -> Plan:
    """Raises Refused, NoBundle, texts.NotPlain."""
    _fit(found, wish)
    steps: list[Step] = []
    notes: list[str] = []
    directory = texts.plain(found.directory)
    bundle: Bundle | None = None
    if found.current and found.sum and found.program and _whole(found):
        name = found.program
        notes.append(
            f"an agent is installed already in {directory}: `cockpit agent upgrade` makes it another version"
        )
    else:
        bundle = bundles.choose(list(offered), found)
        if found.free < bundle.room:
            raise Refused(
                f"{found.free >> 20} MiB are free where {directory} is, and {bundle.room >> 20} are needed: "
                "free some, or name another place with --dir"
            )
        name = bundle.name
        steps.append(Step("upload", f"{bundle.source} to {directory}/bin/{bundle.digest}"))
    program = bundles.program(name, directory, found)
    joined = _joined(found, wish)
    if not joined:
        steps.append(Step("join", f"as {wish.host}, by a one-time token"))
    if wish.connection == "ssh":
        steps.append(Step("switch", "connection: agent in the topology"))
    if not joined and found.agents:
        steps.append(Step("restart", "the agent, as which this host joined anew", {"pids": found.agents}))
    if found.systemd and wish.systemd and found.uid == 0:
        steps += _by_systemd(found, program, directory, notes)
    else:
        steps += _alone(found, wish, program, directory, notes)
    if found.records:
        notes.append("what Cockpit started here by SSH goes on; its next start is the keeper's")
    return Plan(tuple(steps), tuple(notes), tuple(program), f"{directory}/bundle", bundle)


def _fit(found: Found, wish: Wish) -> None:
    if found.system != "Linux":
        raise Refused(f"agents run on Linux, and this is {found.system}")
    lacks = [name for name in NEEDED if name in found.lacks]
    if lacks:
        raise Refused(f"there is no {', '.join(lacks)} on it")
    if wish.connection == "local":
        raise Refused("its agent is started by the controller itself (connection: local)")
    if wish.connection == "ssh" and not wish.switch:
        raise Refused("it is entered without an agent (connection: ssh): --switch makes it `connection: agent`")
    if found.denied:
        raise Refused(
            f"{found.user} may not write to {found.denied}: enter as root, or name another place with --dir"
        )
    if found.owner is not None and found.owner != found.uid:
        raise Refused(f"{found.directory} belongs to user {found.owner}, not to {found.user}: enter as that user")
    if found.identity is not None:
        name, cluster = found.identity["name"], found.identity["cluster"]
        if cluster != wish.cluster:
            raise Refused(
                f"this machine is {name} of the cluster {cluster} already ({found.directory}); "
                "for both give this one another directory: --dir"
            )
        if name != wish.host:
            raise Refused(f"this machine is {name} already ({found.directory}): is the address of {wish.host} right?")


def _whole(found: Found) -> bool:
    """Is the installed program the one that its directory is named by?"""
    return found.sum[:32] == found.current


def _joined(found: Found, wish: Wish) -> bool:
    return found.identity is not None and found.identity["uuid"] == wish.uuid and bool(wish.uuid)


def _by_systemd(found: Found, program: list[str], directory: str, notes: list[str]) -> list[Step]:
    ours = {texts.KEEPER, texts.AGENT} & set(found.units)
    if (found.agents or found.keepers) and not ours:
        notes.append("keeper and agent run here without systemd: that stays so")
        return []
    if found.elsewhere:
        raise Refused(
            f"the units of Cockpit on this machine are those of {found.elsewhere}, and there is one pair of them: "
            f"--no-systemd lets what is in {directory} run without"
        )
    wanted = {
        texts.KEEPER: texts.keeper_unit(program, directory, found.systemd),
        texts.AGENT: texts.agent_unit(program, directory),
    }  # fmt: skip
    steps = []
    for name, text in wanted.items():
        if found.units.get(name) != sha256(text.encode()).hexdigest():
            steps.append(Step("unit", f"/etc/systemd/system/{name}", {"name": name, "content": text}))
    for name in wanted:
        if name not in found.enabled or name not in found.active:
            steps.append(Step("enable", f"{name}, now and at every boot", {"name": name}))
    return steps


def _alone(found: Found, wish: Wish, program: list[str], directory: str, notes: list[str]) -> list[Step]:
    if found.systemd and found.uid != 0:
        notes.append(
            f"{found.user} is not root: no systemd units, everything runs as {found.user}; let logind allow it "
            f"(loginctl enable-linger {found.user})"
        )
    steps = []
    if texts.AGENT in found.active:
        notes.append("keeper and agent run here under systemd: that stays so")
        return []
    if not found.agents:
        steps.append(Step("start", "keeper and agent, which keep each other"))
    line = texts.cron_line(program, directory)
    if found.cronline == line:
        pass
    elif found.crontab and found.cron:
        steps.append(Step("cron", f"@reboot in the crontab of {found.user}", {"line": line}))
    if not (found.crontab and found.cron):
        missing = "no cron runs here" if found.crontab else "there is no cron here"
        notes.append(f"nothing starts them after a boot: {missing}. Let its init run: {_bare(line)}")
    return steps


def _bare(line: str) -> str:
    """The command of a crontab line, for another init."""
    return line.removeprefix("@reboot ").partition(f" {texts.MARK}")[0]


__all__ = ["Bundle", "NoBundle", "Plan", "Refused", "Step", "Wish", "candidates", "plan"]
