"""Asks a machine what its supervisord or systemd runs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cockpit.inventory import supervisor, supervisor_conf, systemd
from cockpit.inventory.found import BadSource, Found, Place
from cockpit.inventory.places import Where
from cockpit.inventory.secret import secret_name
from cockpit.inventory.unit_text import read_show

CONFIGS = ("/etc/supervisor/supervisord.conf", "/etc/supervisord.conf", "/usr/local/etc/supervisord.conf")
_PS = ("ps", "-eo", "pid=,args=")
_MOST_UNITS = 2000


async def read_supervisord(where: Where, machine: str, config: str, found: Found) -> None:
    """Adds the programs. `config`: empty finds the running one's. Raises BadSource."""
    pid, running = await _supervisord(where)
    path = config or running
    if not path:
        for each in CONFIGS:
            if await where.glob(each):
                path = each
                break
        else:
            places = ", ".join(CONFIGS)
            raise BadSource(f"{where.title or 'here'}: no supervisord runs, and none of {places} is there")
    facts = {"host_node_name": await where.hostname(), **await _environment(where, pid)}
    conf = await supervisor_conf.load(path, where.read, where.glob, facts)
    conf.places = {k: _there(where, p) for k, p in conf.places.items()}
    code, out, err = await where.run(["supervisorctl", "-c", path, "status"])
    status = supervisor_conf.statuses(out)
    if code not in (0, 3) or (not status and (out + err).strip()):
        why = (out + err).strip().splitlines()
        said = why[0][:120] if why else f"exit {code}"
        found.remark(Place(path), f"supervisorctl does not say what runs: {said}")
        supervisor.services(conf, machine, facts, None, found)
    else:
        supervisor.services(conf, machine, facts, status, found)


async def _supervisord(where: Where) -> tuple[int, str]:
    """Pid and configuration of the supervisord that runs there; 0 and empty when none is seen."""
    _, out, _ = await where.run(_PS)
    for line in out.splitlines():
        pid, *words = line.split()
        if any(w.rpartition("/")[2] == "supervisord" for w in words[:3]):
            config = supervisor_conf.config_of(words)
            return int(pid), config if config.startswith("/") else ""
    return 0, ""


async def _environment(where: Where, pid: int) -> dict[str, str]:
    """`ENV_NAME` for the variables of the supervisord, secrets left out. Needs the right to look."""
    if not pid:
        return {}
    try:
        text = await where.read(f"/proc/{pid}/environ")
    except BadSource:
        return {}
    pairs = [p.partition("=") for p in text.split("\0") if "=" in p]
    return {f"ENV_{name}": value for name, _, value in pairs if not secret_name(name)}


async def read_systemd(where: Where, machine: str, units: Sequence[str], found: Found) -> None:
    """Adds these units (patterns too), or the administrator's own that run. Raises BadSource."""
    named = [u if re.search(r"\.(service|socket|timer|target|mount)$", u) else u + ".service" for u in units]
    await _asked(where, ["systemctl", "--version"], "systemctl")
    ids = await _matching(where, named) if named else await _running(where, found)
    if len(ids) > _MOST_UNITS:
        raise BadSource(f"{where.title or 'here'}: more than {_MOST_UNITS} units")
    hostname = await where.hostname()
    shows = await _show(where, ids)
    for show in shows:
        cat = ""
        if show.get("LoadState") == "loaded":
            code, cat, _ = await where.run(["systemctl", "cat", "--no-pager", "--", show["Id"]])
            if code:
                cat = ""
        systemd.add_unit(show, cat, machine, hostname, found)


async def _running(where: Where, found: Found) -> list[str]:
    out = await _list(where, ["list-units", "--type=service", "--state=running"])
    mine, others = systemd.own_units(await _show(where, out))
    if others:
        found.remark(
            Place(where.title or "systemd"), "running too and not taken, because the distribution brought them "
            f"(name those that are meant): {', '.join(u.removesuffix('.service') for u in others)}",
        )  # fmt: skip
    return mine


async def _matching(where: Where, names: list[str]) -> list[str]:
    """Patterns filled in by what is loaded or on disk; plain names as they are."""
    out: list[str] = []
    for name in names:
        if not set(name) & set("*?["):
            out.append(name)
            continue
        out += await _list(where, ["list-units", "--all", "--type=service", "--", name])
    return list(dict.fromkeys(out))


async def _list(where: Where, words: list[str]) -> list[str]:
    first, *rest = words
    text = await _asked(where, ["systemctl", first, "--no-legend", "--no-pager", "--plain", *rest], "systemctl")
    return [line.split()[0] for line in text.splitlines() if line.split()]


async def _show(where: Where, ids: Sequence[str]) -> list[dict[str, str]]:
    out: list[dict[str, str]] = []
    wanted = f"--property={','.join(systemd.PROPERTIES)}"
    for n in range(0, len(ids), 100):
        argv = ["systemctl", "show", "--no-pager", wanted, "--", *ids[n : n + 100]]
        out += read_show(await _asked(where, argv, "systemctl show"))
    return out


async def _asked(where: Where, argv: list[str], what: str) -> str:
    code, out, err = await where.run(argv)
    if code:
        why = (err or out).strip().splitlines()
        raise BadSource(f"{where.title or 'here'}: {what}: {why[0][:200] if why else f'exit {code}'}")
    return out


def _there(where: Where, place: Place) -> Place:
    return Place(f"{where.title}:{place.file}", place.line) if where.title else place
