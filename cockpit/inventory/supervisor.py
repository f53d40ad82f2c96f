"""Programs of a supervisord as services whose processes it keeps running."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from msgspec.structs import replace

from cockpit.inventory.found import SIGNALS, Found, Place, Program, braces
from cockpit.inventory.secret import clean_argv, how_to_give, split_env
from cockpit.inventory.supervisor_conf import MOST_PROCESSES, Conf, Unknown, expand, key_values
from cockpit.model.problems import Wrong
from cockpit.model.topology import Limits, Mode, Restart, Runtime, Service, Stop
from cockpit.model.units import LONGEST, parse_signal

_MODES: dict[str, Mode] = {"true": "always", "false": "never", "unexpected": "on-failure"}
_TRUE = ("true", "1", "yes", "on")
_FALSE = ("false", "0", "no", "off")
_STOPPED = ("STOPPED", "EXITED")
_SLOT = re.compile(r"%\(process_num\)(0?\d{0,3})d|%\(process_num\)s")


def services(
    conf: Conf, machine: str, facts: Mapping[str, str], status: Mapping[str, str] | None, found: Found
) -> None:
    """Adds every program. `status` is what supervisorctl said (None: it did not answer)."""
    groups = _groups(conf, found)
    seen: set[str] = set()
    listeners: set[str] = set()
    for section, options in conf.sections.items():
        kind, _, name = section.partition(":")
        place = conf.places[section]
        if kind == "eventlistener":
            found.remark(place, f"[{section}] is left out: an event listener is a part of supervisord")
            listeners.add(name.strip())
        if kind not in ("program", "fcgi-program"):
            continue
        name = name.strip()
        for group in groups.get(name, [name]):
            try:
                _program(name, group, options, place, machine, {**facts, "here": conf.here}, status, found, seen)
            except Unknown as e:
                found.remark(place, f"[{section}] is left out: %({e})s is not known here")
            except (ValueError, Wrong) as e:
                found.remark(place, f"[{section}] is left out: {e}")
    for name in sorted((status or {}).keys() - seen):
        if name.partition(":")[0] in listeners:
            continue
        found.remark(Place(machine), f"{name} runs in supervisord and is not in its files: not taken")


def _groups(conf: Conf, found: Found) -> dict[str, list[str]]:
    """Program -> the groups that hold it (none: a group of its own name)."""
    out: dict[str, list[str]] = {}
    for section, options in conf.sections.items():
        if section.startswith("group:"):
            for name in options.get("programs", "").split(","):
                name = name.strip()
                if f"program:{name}" in conf.sections or f"fcgi-program:{name}" in conf.sections:
                    out.setdefault(name, []).append(section[6:].strip())
                elif name:
                    found.remark(conf.places[section], f"[{section}] names the program {name}, which is not there")
    return out


def _program(
    name: str, group: str, options: Mapping[str, str], place: Place, machine: str, facts: Mapping[str, str],
    status: Mapping[str, str] | None, found: Found, seen: set[str],
) -> None:  # fmt: skip
    count, first = int(options.get("numprocs", "1")), int(options.get("numprocs_start", "0"))
    if not 1 <= count <= MOST_PROCESSES:
        raise ValueError(f"numprocs is {count}")
    values: dict[str, str | int] = {**facts, "program_name": name, "group_name": group, "numprocs": count}
    template = options.get("process_name", "%(program_name)s")
    each: list[Program] = []
    for number in range(first, first + count):
        own = {**values, "process_num": number}
        process = expand(template, own)
        full = process if process == group else f"{group}:{process}"
        seen.add(full)
        each.append(_one(full, (name,), options, place, machine, own, found, note=number == first))
    states = [(status or {}).get(p.service.runtime.supervisord or "") for p in each if p.service.runtime]
    names = [p.service.runtime.supervisord or "" for p in each if p.service.runtime]
    above = (group,) if group != name else ()
    if count == 1:
        found.programs.append(replace(_stated(each[0], states[0], status, options), path=(*above, name)))
        return
    whole = _as_slots(name, group, options, place, machine, values, each, first, found)
    if whole is not None and not set(states) & set(_STOPPED):
        notes = (*whole.notes, *_odd(names, states, status))
        found.programs.append(replace(whole, path=(*above, name), slots=count, notes=notes))
        return
    for program, state, full in zip(each, states, names, strict=True):
        path = (*above, name, full.rpartition(":")[2])
        found.programs.append(replace(_stated(program, state, status, options), path=path))


def _stated(
    program: Program, state: str | None, status: Mapping[str, str] | None, options: Mapping[str, str]
) -> Program:
    runtime = program.service.runtime
    name = runtime.supervisord or "" if runtime else ""
    if state in _STOPPED:
        text = f"{state} when it was read: no instance is expected; `instances: {{hosts: [HOST]}}` takes it in"
        return replace(program, slots=0, notes=(*program.notes, text))
    if status is None and options.get("autostart", "true").strip().lower() in _FALSE:
        text = "autostart=false, and supervisord did not say whether it runs: no instance is expected"
        return replace(program, slots=0, notes=(*program.notes, text))
    return replace(program, notes=(*program.notes, *_odd([name], [state], status)))


def _odd(names: list[str], states: list[str | None], status: Mapping[str, str] | None) -> list[str]:
    if status is None:
        return []
    notes = []
    for name, state in zip(names, states, strict=True):
        if state is None:
            notes.append(f"{name} is in the files and supervisord does not know it: supervisorctl update")
        elif state not in ("RUNNING", *_STOPPED):
            notes.append(f"{name} was {state} when it was read")
    return notes


def _as_slots(
    name: str, group: str, options: Mapping[str, str], place: Place, machine: str,
    values: Mapping[str, str | int], each: list[Program], first: int, found: Found,
) -> Program | None:  # fmt: skip
    """All processes as instances of one service, with `{slot}` for their number, where that is exact."""
    if first != 0:
        return None
    mark = "\x01{}\x01"
    swapped = {k: _SLOT.sub(lambda m: mark.format(m[1] or ""), v) for k, v in options.items()}
    if any("%(process_num)" in v for v in swapped.values()):
        return None
    process = expand(swapped.get("process_name", "%(program_name)s"), values)
    one = _one(f"{group}:{process}", (name,), swapped, place, machine, values, found, note=False)
    runtime, main = one.service.runtime, one.service.processes["main"]
    assert runtime is not None and runtime.supervisord is not None
    texts = [runtime.supervisord, *main, *one.service.env.values(), *one.service.logs.values(), one.service.directory]
    widths = {int(w or 0) for t in texts for w in re.findall("\x01(0?\\d*)\x01", t)}
    padded = {w for w in widths if w > 1}
    if "\x01" in one.service.directory or (padded and len(each) > 10):
        return None  # the directory has no template; `0{slot}` has two digits for one-digit slots only

    def slots(text: str) -> str:
        return re.sub("\x01(0?)(\\d*)\x01", lambda m: (m[1] or " ") * max(0, int(m[2] or 1) - 1) + "{slot}", text)

    service = replace(
        one.service, runtime=Runtime(supervisord=slots(runtime.supervisord)),
        processes={"main": tuple(slots(w) for w in main)},
        env={k: slots(v) for k, v in one.service.env.items()},
        logs={k: slots(v) for k, v in one.service.logs.items()},
    )
    for number, program in enumerate(each):
        if _filled(service, number) != _filled(program.service, number):
            return None
    return replace(one, service=service, notes=each[0].notes)


def _filled(service: Service, slot: int) -> object:
    def fill(text: str) -> str:
        return text.replace("{{", "\x02").replace("{slot}", str(slot)).replace("\x02", "{")

    assert service.runtime is not None and service.runtime.supervisord is not None
    return (
        fill(service.runtime.supervisord), [fill(w) for w in service.processes["main"]],
        {k: fill(v) for k, v in service.env.items()}, {k: fill(v) for k, v in service.logs.items()},
        service.directory,
    )  # fmt: skip


def _one(
    full: str, path: tuple[str, ...], options: Mapping[str, str], place: Place, machine: str,
    values: Mapping[str, str | int], found: Found, *, note: bool,
) -> Program:  # fmt: skip
    notes: list[str] = []
    own = dict(values)
    given = key_values(expand(options.get("environment", ""), own)) if options.get("environment") else {}
    own |= {f"ENV_{k}": v for k, v in given.items()}
    env, secrets = split_env(given)
    notes += [how_to_give(n) for n in secrets]
    if not options.get("command"):
        raise ValueError("it has no command")
    argv, left = clean_argv(shlex.split(expand(options["command"], own)))
    notes += [f"the value of {n} in the command was left out (a secret)" for n in left]
    if not argv:
        raise ValueError("it has no command")
    mode = options.get("autorestart", "unexpected").strip().lower()
    mode = "true" if mode in _TRUE else "false" if mode in _FALSE else mode
    if mode not in _MODES:
        raise ValueError(f"autorestart is {mode[:20]}")
    codes = options.get("exitcodes", "0").replace(" ", "")
    if mode == "unexpected" and codes != "0":
        notes.append(f"exitcodes={codes[:40]}: only 0 counts as a good end here")
    signal = options.get("stopsignal", "TERM").strip()
    logs = {}
    for key, word in (("stdout_logfile", "output"), ("stderr_logfile", "errors")):
        file = options.get(key, "")
        if file.startswith(("/", "%")) and file != "/dev/null" and not file.startswith(("/dev/", "/proc/")):
            logs[word] = braces(expand(file, own))
    for key, default in (("umask", ""), ("priority", "999"), ("startsecs", "1"), ("stopasgroup", "false"),
                         ("killasgroup", "false"), ("serverurl", ""), ("socket", "")):  # fmt: skip
        if options.get(key, default).strip().lower() not in (default, "auto") and note:
            notes.append(f"{key}={options[key][:60]} stays with supervisord")
    return Program(
        path=path, machine=machine, place=place, notes=tuple(notes),
        service=Service(
            processes={"main": tuple(braces(w) for w in argv)},
            env={k: braces(v) for k, v in env.items()},
            directory=expand(options["directory"], own) if options.get("directory") else "",
            user=expand(options.get("user", ""), own),
            limits=Limits(), logs=logs, runtime=Runtime(supervisord=braces(full)),
            restart=Restart(mode=_MODES[mode], attempts=_attempts(options)),
            stop=Stop(
                signal=parse_signal(SIGNALS.get(signal, signal)),
                grace=min(LONGEST, float(options.get("stopwaitsecs", "10"))),
            ),
        ),
    )  # fmt: skip


def _attempts(options: Mapping[str, str]) -> int | None:
    tries = int(options.get("startretries", "3"))
    return tries if tries > 0 and "startretries" in options else None
