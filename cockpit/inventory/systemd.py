"""Units of a running systemd as services that it goes on running."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cockpit.inventory.found import SIGNALS, Found, Place, Program, braces
from cockpit.inventory.secret import clean_argv, how_to_give, split_env
from cockpit.inventory.unit_text import (
    Unit,
    environment,
    read_cat,
    seconds,
    specifiers,
    split_words,
    unescape,
    variables,
)
from cockpit.model.problems import Wrong
from cockpit.model.topology import Check, Limits, Mode, Restart, Runtime, Service, Stop
from cockpit.model.units import LARGEST, LONGEST, parse_signal

PROPERTIES = (
    "Id", "LoadState", "ActiveState", "SubState", "UnitFileState", "FragmentPath", "Type", "User", "DynamicUser",
    "WorkingDirectory", "Restart", "KillSignal", "TimeoutStopUSec", "RestartUSec", "LimitNOFILE", "LimitNPROC",
    "LimitAS", "LimitCORE", "LimitCPU", "TriggeredBy",
)  # fmt: skip
OWN = ("/etc/systemd/system/", "/usr/local/lib/systemd/system/")
"""Where an administrator's units lie; those of the distribution are elsewhere."""
_RUNS = ("active", "activating", "reloading")
_MODES: dict[str, Mode] = {
    "no": "never", "always": "always", "on-failure": "on-failure", "on-abnormal": "on-failure",
    "on-abort": "on-failure", "on-watchdog": "on-failure", "on-success": "never",
}  # fmt: skip
_LIMITS = {
    "open_files": "LimitNOFILE", "processes": "LimitNPROC", "memory": "LimitAS", "core": "LimitCORE", 
    "cpu": "LimitCPU",
}  # fmt: skip


def own_units(shows: list[dict[str, str]]) -> tuple[list[str], list[str]]:
    """Of all running units: (those of the administrator, the others)."""
    mine = [s["Id"] for s in shows if s.get("FragmentPath", "").startswith(OWN)]
    return sorted(mine), sorted(s["Id"] for s in shows if s.get("Id") and s["Id"] not in mine)


def add_unit(show: Mapping[str, str], cat: str, machine: str, hostname: str, found: Found) -> None:
    """One unit from what `systemctl show` and `systemctl cat` say of it."""
    name = show.get("Id", "")
    place = Place(show.get("FragmentPath") or f"{machine} {name}")
    if show.get("LoadState") != "loaded" or not name.endswith(".service"):
        word = show.get("LoadState", "not there") if name.endswith(".service") else "no service"
        found.remark(place, f"{name or 'a unit'} is left out: it is {word}")
        return
    if show.get("Type") == "oneshot":
        timer = next((t for t in show.get("TriggeredBy", "").split() if t.endswith(".timer")), "")
        more = f"; {timer} starts it: `schedules` is the place for it" if timer else ""
        found.remark(place, f"{name} is left out: a oneshot runs and ends{more}")
        return
    try:
        found.programs.append(_program(name, show, read_cat(cat), machine, hostname, place))
    except (ValueError, Wrong) as e:
        found.remark(place, f"{name} is left out: {e}")


def _program(
    name: str, show: Mapping[str, str], unit: Unit, machine: str, hostname: str, place: Place
) -> Program:
    notes: list[str] = []
    given = environment(unit.get("Service.Environment", []))
    values = specifier_values(name, hostname)
    given = {k: specifiers(v, values)[0] for k, v in given.items()}
    env, secrets = split_env(given)
    notes += [how_to_give(n) for n in secrets]
    for setting in unit.get("Service.EnvironmentFile", []):
        notes.append(f"EnvironmentFile {setting.value} ({setting.place}): systemd reads it; no value of it was read")
    argv, more, at = _command(unit, env, values)
    cleaned, left = clean_argv(argv)
    notes += more + [f"the value of {n} in the command was left out (a secret)" for n in left]
    mode = show.get("Restart", "no")
    if mode in ("on-success", "on-abnormal", "on-abort", "on-watchdog"):
        notes.append(f"Restart={mode} is nearest to {_MODES[mode]}; systemd goes on by its own")
    signal = show.get("KillSignal", "15")
    grace = seconds(show.get("TimeoutStopUSec", ""))
    if grace is None:
        notes.append(f"TimeoutStopSec is {show.get('TimeoutStopUSec') or 'not told'}: 90 s is written")
    state, runs = show.get("ActiveState", ""), show.get("ActiveState", "") in _RUNS
    wanted = runs or show.get("UnitFileState") in ("enabled", "enabled-runtime") or state == "failed"
    if not runs:
        rest = "" if wanted else ": no instance is expected; `instances: {hosts: [HOST]}` takes it in"
        notes.append(f"{name} was {state} when it was read{rest}")
    if show.get("DynamicUser") == "yes":
        notes.append("DynamicUser=yes: systemd makes its user")
    directory = show.get("WorkingDirectory", "").lstrip("!-")
    return Program(
        path=(name.removesuffix(".service"),), machine=machine, place=at or place, slots=1 if wanted else 0,
        notes=tuple(notes),
        service=Service(
            processes={"main": tuple(braces(w) for w in cleaned)}, env={k: braces(v) for k, v in env.items()},
            user=show.get("User", "") if show.get("DynamicUser") != "yes" else "",
            directory=directory if directory.startswith("/") else "",
            runtime=Runtime(systemd=braces(name)), limits=_limits(show, unit, notes),
            restart=Restart(mode=_MODES.get(mode, "never")),
            stop=Stop(signal=parse_signal(SIGNALS.get(signal, signal)), grace=min(LONGEST, grace or 90.0)),
            check=Check(notify=True) if show.get("Type") in ("notify", "notify-reload") else None,
        ),
    )  # fmt: skip


def _command(
    unit: Unit, env: Mapping[str, str], values: Mapping[str, str]
) -> tuple[list[str], list[str], Place | None]:
    """The words of ExecStart, notes, its place. Raises ValueError."""
    settings = unit.get("Service.ExecStart", [])
    if not settings:
        raise ValueError("it has no ExecStart")
    if len(settings) > 1:
        raise ValueError("it has several ExecStart")
    notes: list[str] = []
    text, unknown = specifiers(settings[0].value, values)
    words = split_words(text)
    prefix = re.match(r"[-@:+!|]*", words[0])
    mark = prefix[0] if prefix else ""
    words[0] = words[0][len(mark) :]
    if "@" in mark and len(words) > 1:
        del words[1]  # the name that the process is given
    if not words[0]:
        raise ValueError("its ExecStart names no program")
    if ":" not in mark:
        words, missing = variables(words, env)
        why = "is not known here (an EnvironmentFile, or a secret)"
        notes += [f"${n} in ExecStart {why}" for n in dict.fromkeys(missing)]
    notes += [f"{s} in ExecStart is not filled" for s in dict.fromkeys(unknown)]
    if "+" in mark or "!" in mark:
        notes.append("ExecStart runs with full privileges (+ or !)")
    return words, notes, settings[0].place


def specifier_values(name: str, hostname: str) -> dict[str, str]:
    """What systemd puts for `%n`, `%i` and the others of a system unit."""
    base = name.removesuffix(".service")
    prefix, _, instance = base.partition("@")
    return {
        "n": name, "N": base, "p": prefix, "P": unescape(prefix), "i": instance, "I": unescape(instance),
        "j": prefix.rpartition("-")[2], "H": hostname, "l": hostname.partition(".")[0], "u": "root",
        "t": "/run", "S": "/var/lib", "C": "/var/cache", "L": "/var/log", "E": "/etc", "T": "/tmp", "V": "/var/tmp",
    }  # fmt: skip


def _limits(show: Mapping[str, str], unit: Unit, notes: list[str]) -> Limits:
    """Those that the unit's files set; the others are the system's defaults."""
    found: dict[str, int] = {}
    for field, key in _LIMITS.items():
        if not unit.get(f"Service.{key}"):
            continue
        value = show.get(key, "")
        if value == "infinity" and field == "core":
            found[field] = -1
        elif value.isdigit() and int(value) <= (1_000_000 if field in ("open_files", "processes") else LARGEST):
            found[field] = int(value) if field != "cpu" else min(int(value), 10**9)
        else:
            notes.append(f"{key}={value[:30]} stays with systemd")
    return Limits(**found)
