"""A patch on what is expected, in words: for the plan preview and for the revisions. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cockpit.model.units import plural
from cockpit.model.view import Change

Short = Callable[[str], str]
"""Full path or instance id -> the name that screens show."""
MANY = 4
"""More instances of one service with the same change than this are one sentence."""
MODES = {"draining": "is drained", "maintenance": "is in maintenance"}


def describe(changes: Sequence[Change], short: Short, to: str = "→") -> list[str]:
    """Sentences for a patch, the weightiest first: `sudoku version 1.0.0 → 1.1.0`, `web/0 moves sh-1 → sh-3`."""
    tables: dict[str, list[Change]] = {}
    for change in changes:
        tables.setdefault(change.path[0], []).append(change)
    out: list[str] = []
    names = tables.pop("name", [])
    if names and not names[0].old:
        out.append(_import(tables))
    elif names:
        out.append(f"the cluster is called {value(names[0].new)}, no longer {value(names[0].old)}")
    placed: dict[str, list[Change]] = {}
    for change in tables.pop("placement", []):
        placed.setdefault(change.path[1].rpartition("/")[0], []).append(change)
    for change in tables.pop("services", []):
        out.append(_service(change, placed, short, to))
    for group in placed.values():
        out += _placement(group, short, to)
    out += _stopped(tables.pop("stopped", []), short)
    for table in ("modes", "hosts", "groups", "regions"):
        out += [_thing(change, short, to) for change in tables.pop(table, [])]
    out += [words for change in tables.pop("guards", []) for words in guard_words(change)]
    for rest in tables.values():
        out += [_other(" ".join(c.path), c, to) for c in rest]
    return out


def headline(changes: Sequence[Change], short: Short, to: str = "→") -> str:
    """The patch on one line: its first sentence, and how many follow."""
    words = describe(changes, short, to)
    if not words:
        return ""
    whole = words[0].startswith("first import") or len(words) == 1
    return words[0] if whole else f"{words[0]}, and {len(words) - 1} more"


def _import(tables: dict[str, list[Change]]) -> str:
    def count(table: str) -> int:
        return sum(1 for c in tables.get(table, ()) if c.new is not None and len(c.path) == 2)

    parts = (plural(count("hosts"), "host"), plural(count("services"), "service"),
             plural(count("placement"), "instance"))
    return f"first import: {', '.join(parts)}"


def _service(change: Change, placed: dict[str, list[Change]], short: Short, to: str) -> str:
    """One change of a service; placements that follow from it are told with it."""
    path, field = change.path[1], change.path[2:]
    name = short(path)
    if not field:
        if change.new is None:
            gone = placed.pop(path, [])
            return f"service {name} removed" + (f" with {plural(len(gone), 'instance')}" if gone else "")
        new = placed.pop(path, [])
        version = change.new.get("version", "") if isinstance(change.new, dict) else ""
        return f"service {name}{f' {value(version)}' if version else ''} added" + _where(new, short)
    if field[0] == "instances" and (field[1:] == ("count",) or not field[1:]):
        mine = placed.get(path, [])
        came = [c for c in mine if c.old is None]
        left = [c for c in mine if c.new is None]
        placed[path] = [c for c in mine if c.old is not None and c.new is not None]
        words = _other(f"{name} instances", change if field[1:] else _counted(change), to)
        if left:
            words += ", without " + _names([short(c.path[1]) for c in left])
        return words + _where(came, short)
    return _other(f"{name} {' '.join(field)}", change, to)


def _counted(change: Change) -> Change:
    """A change of the whole `instances` object as one of its count, where that is all it says."""
    def count(value: Any) -> Any:
        return value["count"] if isinstance(value, dict) and value.keys() == {"count"} else value

    return Change(path=change.path, old=count(change.old), new=count(change.new))


def _where(placements: Sequence[Change], short: Short) -> str:
    if not placements:
        return ""
    if len(placements) > MANY:
        return f": {len(placements)} instances on {plural(len({value(c.new) for c in placements}), 'host')}"
    return ": " + ", ".join(f"{short(c.path[1])} on {value(c.new)}" for c in placements)


def _names(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= MANY else f"{len(names)} of them"


def _placement(group: Sequence[Change], short: Short, to: str) -> list[str]:
    out = []
    for change in group:
        name = short(change.path[1])
        if change.old is None:
            out.append(f"{name} added on {value(change.new)}")
        elif change.new is None:
            out.append(f"{name} removed from {value(change.old)}")
        else:
            out.append(f"{name} moves {value(change.old)} {to} {value(change.new)}")
    return out


def _stopped(changes: Sequence[Change], short: Short) -> list[str]:
    groups: dict[tuple[str, str], list[str]] = {}
    for change in changes:
        word = "stopped" if change.new else "started"
        groups.setdefault((change.path[1].rpartition("/")[0], word), []).append(change.path[1])
    out = []
    for (service, word), ids in groups.items():
        many = len(ids) > MANY
        out += [f"{len(ids)} instances of {short(service)} {word}"] if many else [f"{short(i)} {word}" for i in ids]
    return out


def _thing(change: Change, short: Short, to: str) -> str:
    """A host, a group, a region, or the mode of a host."""
    table, name, *field = change.path
    if table == "modes":
        mode = value(change.new)
        return f"host {name} {MODES.get(mode, mode)}" if change.new else f"host {name} is back in service"
    what = f"{table.removesuffix('s')} {short(name)}"
    if field:
        return _other(f"{what} {' '.join(field)}", change, to)
    if change.new is None:
        return f"{what} removed"
    return f"{what} added" if change.old is None else f"{what} changed"


def _other(name: str, change: Change, to: str) -> str:
    if change.old is None:
        return f"{name} set to {value(change.new)}"
    if change.new is None:
        return f"{name} removed, was {value(change.old)}"
    return f"{name} {value(change.old)} {to} {value(change.new)}"


def value(of: Any) -> str:
    """A JSON value for people: no quotes, no braces."""
    if isinstance(of, bool):
        return "yes" if of else "no"
    if isinstance(of, dict):
        return ", ".join(f"{k} {value(v)}" for k, v in of.items()) or "empty"
    if isinstance(of, list | tuple):
        return " ".join(value(v) for v in of) or "empty"
    if isinstance(of, float):
        return f"{of:g}"
    return str(of) or "empty"


def guard_words(change: Change) -> list[str]:
    """A change of the guards as sentences, by their names."""
    old = {g["name"]: g for g in change.old or ()}
    new = {g["name"]: g for g in change.new or ()}
    out = [f"guard {n} removed ({old[n].get('effect', 'allow')})" for n in old if n not in new]
    added = [n for n in new if n not in old]
    out += [f"guard {n} added ({new[n].get('effect', 'allow')}: {new[n].get('reason', '')})" for n in added]
    for name in old.keys() & new.keys():
        parts = sorted(k for k in old[name].keys() | new[name].keys() if old[name].get(k) != new[name].get(k))
        if parts:
            out.append(f"guard {name} changed: {', '.join(p.replace('_', ' ') for p in parts)}")
    both = [n for n in old if n in new]
    if both != [n for n in new if n in old]:
        out.append("guards are asked in another order: " + ", ".join(new))
    return sorted(out)
