"""Paths into rows and into what rows lead to: `host.labels.rack`, `expected.limits.memory`, `runs.0.version`. Pure.

A path becomes a typed `Field`, so that a filter and a column of the same spelling say the same. The types of the rows
tell what can be asked; nothing is looked up before a row is. Raises `Wrong` with the nearest right path.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cache
from itertools import islice
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from cockpit.model.advice_rows import AdviceRow
from cockpit.model.guard_rows import RequestRow
from cockpit.model.history_rows import Difference
from cockpit.model.problems import Wrong, nearest
from cockpit.model.topology import Host, Relay, Service
from cockpit.model.view import (
    ActionRow,
    AlertRow,
    ArtifactRow,
    EndpointRow,
    HostRow,
    InstanceRow,
    NodeRow,
    RelayRow,
    RevisionRow,
)
from cockpit.model.why_rows import JournalLine, Moment
from screens.board import Board
from screens.typed import AUTO, FLAG, MANY, MOMENT, NUMBER, SIZE, SPAN, TEXT, VERSION, Field, short

LIMIT, DEEP = 120, 8
"""Characters of a path, and its parts."""
LOOKED = 2000
"""Rows whose labels are looked at, for completion and for the nearest name."""
MOST = 60
"""Names of labels that are offered at one place."""
Get = Callable[[Any], Any]

ROWS: dict[str, tuple[type, ...]] = {
    "overview": (InstanceRow, NodeRow), "instances": (InstanceRow,), "hosts": (HostRow,), "relays": (RelayRow,),
    "actions": (ActionRow,), "naming": (EndpointRow,), "artifacts": (ArtifactRow,), "revisions": (RevisionRow,),
    "approvals": (RequestRow,), "alerts": (AlertRow,), "journal": (JournalLine,), "life": (Moment,),
    "advice": (AdviceRow,), "between": (Difference,),
}  # fmt: skip
"""Name of a list -> the types of its rows, also while it is empty; other lists tell by the rows they have."""
LINKS: dict[str, tuple[str, type]] = {
    "host": ("hosts", HostRow), "service": ("nodes", NodeRow), "instance": ("instances", InstanceRow),
    "action": ("actions", ActionRow), "cause": ("actions", ActionRow),
}
"""A field that holds a name -> the table of the board where that is a key, and the type of its rows."""
EXPECTED: dict[type, tuple[str, str, type]] = {
    InstanceRow: ("services", "service", Service), NodeRow: ("services", "path", Service),
    EndpointRow: ("services", "service", Service), HostRow: ("hosts", "name", Host),
    RelayRow: ("relays", "name", Relay),
}
"""Type of a row -> the part of what is expected it is held against, by which of its fields."""
MOMENTS = frozenset({
    "started", "since", "seen", "ended", "observed", "added", "gives_up", "told", "asked", "expires", "time", "at",
    "decided", "first", "last",
})  # fmt: skip
SIZES = frozenset({
    "size", "packed", "memory", "core", "cache", "push_rate", "to_move", "moved", "wan", "sent", "rate",
    "from_source", "from_relay", "from_peers",
})  # fmt: skip
KEYED = ("labels", "attributes")
"""Their keys may have dots and slashes."""


def kinds_of(view: str, rows: Mapping[str, Any]) -> tuple[type, ...]:
    """The types of a list's rows."""
    if view == "regions":
        from screens.regions import RegionRow

        return (RegionRow,)
    seen = dict.fromkeys(type(row) for row in islice(rows.values(), LOOKED))
    return tuple(dict.fromkeys((*ROWS.get(view, ()), *(t for t in seen if _parts(t)))))


def _parts(kind: Any) -> dict[str, Any]:
    return _fields(kind) if isinstance(kind, type) else {}


@cache
def _fields(kind: Hashable) -> dict[str, Any]:
    """Names and types of what a row or a specification holds; empty for anything else."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return {f.name: _bare(f.type) for f in msgspec.structs.fields(kind)}
    return {}


def _bare(kind: Any) -> Any:
    """Without None; a mixture of types is Any."""
    if get_origin(kind) in (Union, UnionType):
        left = [k for k in get_args(kind) if k is not NoneType]
        return left[0] if len(left) == 1 else Any
    return kind


def _several(kind: Any) -> bool:
    return get_origin(kind) in (tuple, list, frozenset, set) or kind in (tuple, list)


def _mapping(kind: Any) -> bool:
    return get_origin(kind) is dict or kind is dict


def _item(kind: Any) -> Any:
    """What a list or a mapping holds."""
    args = [a for a in get_args(kind) if a is not Ellipsis]
    return _bare(args[-1]) if args else Any


def field_of(path: str, kinds: Sequence[type], board: Board) -> Field:
    """The field that a path leads to; of several types of rows each has its own way, or no value. Raises Wrong."""
    parts = path.split(".")
    if len(path) > LIMIT or len(parts) > DEEP or not all(parts):
        raise Wrong(f'"{short(path)}" is no path; a path is names with dots between them, such as host.region')
    ways: dict[type, Get] = {}
    found: dict[type, str] = {}
    wrong: Wrong | None = None
    for kind in kinds:
        try:
            ways[kind], found[kind] = _way(parts, kind, board)
        except Wrong as error:
            wrong = wrong or error
    if not ways:
        if wrong is None:
            raise Wrong(f'no field "{short(path)}" here')
        raise Wrong(str(wrong), _right(path, wrong.hint, kinds, board))
    if "expected" in parts[:-1]:
        board.expected.want()
    sort, *others = set(found.values())
    sort = AUTO if others else sort
    unit = 0.001 if parts[-1] == "latency" else 1.0
    if len(ways) == 1 and len(kinds) == 1:
        get = next(iter(ways.values()))
    else:
        def get(row: Any) -> Any:
            way = ways.get(type(row))
            return None if way is None else way(row)
    if sort == AUTO:
        plain = get
        get = lambda row: None if (v := plain(row)) is None else said_plain(v)  # noqa: E731
    return Field(path, get, sort, unit=unit)


def _right(path: str, hint: str, kinds: Sequence[type], board: Board) -> str:
    """The nearest path that leads somewhere."""
    if "." not in path and (better := _elsewhere(path, kinds)):
        return better
    for _ in range(DEEP):
        if not hint:
            break
        try:
            field_of(hint, kinds, board)
        except Wrong as error:
            if error.hint == hint or hint.count(".") >= DEEP:
                break
            hint = error.hint
        else:
            return hint
    return _elsewhere(path, kinds)


def _way(parts: list[str], kind: Any, board: Board) -> tuple[Get, str]:
    """The getter of a path from a row of this type, and the kind of its value."""
    steps: list[Get] = []
    done: list[str] = []
    while parts:
        name, rest = parts[0], parts[1:]
        if link := _link(kind, name, rest, board):
            step, kind = link
        elif names := _parts(kind):
            if name not in names:
                raise _no_name(name, done, rest, _names(kind, bool(rest)))
            step, kind = _attribute(name), names[name]
        elif _mapping(kind):
            kind = _item(kind)
            key = name if _parts(kind) or _several(kind) else ".".join(parts)
            step, rest = _key(key), rest if key == name else []
            done.append(key)
            parts = rest
            steps.append(step)
            continue
        elif _several(kind):
            if not name.isdecimal():
                here = ".".join(done)
                raise Wrong(f"{here} is a list; say which one, from 0 on", ".".join((here, "0", *parts)))
            step, kind = _place(int(name[:6])), _item(kind)
        else:
            here = ".".join(done)
            raise Wrong(f"{here} is {_said_kind(kind)}: nothing lies behind it", here)
        steps.append(step)
        done.append(name)
        parts = rest
    if names := _parts(kind):
        here = ".".join(done)
        raise Wrong(f"{here} holds {', '.join(list(names)[:12])}; say which one", f"{here}.{next(iter(names))}")
    return _joined(steps), _kind(done, kind, spec="expected" in done)


def _link(kind: Any, name: str, rest: list[str], board: Board) -> tuple[Get, Any] | None:
    """What a name of a row leads to, where the path goes on behind it."""
    if not rest:
        return None
    if name == "expected" and kind in EXPECTED:
        part, by, what = EXPECTED[kind]
        now = board.expected
        return (lambda row: getattr(now, part).get(getattr(row, by))), what
    if name == "relay" and kind is HostRow:
        return (lambda row: board.relays.get(row.path[0]) if row.path else None), RelayRow
    if name in LINKS and _parts(kind).get(name) is str:
        table, what = LINKS[name]
        return (lambda row: getattr(board, table).get(getattr(row, name))), what
    return None


def _attribute(name: str) -> Get:
    return lambda value: getattr(value, name)


def _key(key: str) -> Get:
    return lambda value: value.get(key)


def _place(number: int) -> Get:
    return lambda value: value[number] if number < len(value) else None


def _joined(steps: list[Get]) -> Get:
    if len(steps) == 1:
        return steps[0]

    def get(value: Any) -> Any:
        for step in steps:
            value = step(value)
            if value is None:
                return None
        return value

    return get


def _kind(done: list[str], kind: Any, spec: bool) -> str:
    """The kind of a field, by the type of its value and its name."""
    name = done[-1]
    if kind is bool:
        return FLAG
    if kind is int:
        return SIZE if name in SIZES else NUMBER
    if kind is float:
        if spec:
            return SPAN
        if name in ("latency", "eta"):
            return SPAN
        return MOMENT if name in MOMENTS else SIZE if name in SIZES else NUMBER
    if kind is str or get_origin(kind) is Literal:
        return VERSION if name == "version" or name.startswith("version_") or name.endswith("_version") else TEXT
    if _several(kind) and _item(kind) is str:
        return MANY
    return AUTO


def _said_kind(kind: Any) -> str:
    if get_origin(kind) is Literal or kind is str:
        return "a word"
    return {int: "a number", float: "a number", bool: "yes or no"}.get(kind, "a value")


# names: what may stand at a place, the nearest of them


def _names(kind: Any, inner: bool = False) -> list[str]:
    """What may stand behind a row; with `inner`, where the path goes on behind that."""
    names = list(_parts(kind))
    if kind in EXPECTED and ("expected" not in names or inner):
        names.append("expected")
    if kind is HostRow and inner:
        names.append("relay")
    return names


def _no_name(name: str, done: list[str], rest: list[str], names: list[str]) -> Wrong:
    at = ".".join(done)
    near = next((n for n in names if n.startswith(name.lower())), "") or nearest(name, names)
    hint = ".".join((*done, near, *rest)) if near else ""
    where = f" behind {at}" if at else " here"
    if hint:
        return Wrong(f'no "{short(name)}"{where}', hint)
    return Wrong(f'no "{short(name)}"{where}; there are {" ".join(names[:12])}')


def _elsewhere(path: str, kinds: Sequence[type]) -> str:
    """A whole path that ends with (nearly) the same name: `memory` -> `expected.limits.memory`."""
    every = [p for kind in kinds for p in _all(kind)]
    last = path.rpartition(".")[2].lower()
    same = [p for p in every if p.rpartition(".")[2] == last]
    same = same or [p for p in every if f".{last}." in f".{p}."]
    if same:
        return min(same, key=len)
    return nearest(path, every)


@cache
def _all(kind: Any, deep: int = 3) -> tuple[str, ...]:
    """Every path from a type, through what it leads to, by the types alone; a label has no name here."""
    out: list[str] = []
    for name, what in _parts(kind).items():
        inner = _parts(what)
        if not inner:
            out.append(name)
        elif deep > 1:
            out += [f"{name}.{p}" for p in _all(what, deep - 1)]
        if _several(what) and _parts(_item(what)) and deep > 1:
            out += [f"{name}.0.{p}" for p in _all(_item(what), deep - 1)]
        if name in LINKS and what is str and deep > 2 and LINKS[name][1] is not kind:
            out += [f"{name}.{p}" for p in _all(LINKS[name][1], 1)]
    if kind in EXPECTED and deep > 2:
        out += [f"expected.{p}" for p in _all(EXPECTED[kind][2], 3)]
    return tuple(out)


def every_path(kinds: Sequence[type], board: Board, rows: Iterable[Any]) -> list[str]:
    """Paths that can be asked here, with the labels that rows have now; the short ones first."""
    sample = list(islice(rows, LOOKED))
    out: dict[str, None] = {}
    for path in (p for kind in kinds for p in _all(kind)):
        out[path] = None
        if path.rpartition(".")[2] in KEYED:
            out.update(dict.fromkeys(_keys(path, kinds, board, sample)))
    return sorted(out, key=lambda p: (p.count("."), p))


def _keys(path: str, kinds: Sequence[type], board: Board, rows: Iterable[Any]) -> list[str]:
    """`labels` -> `labels.rack`, `labels.zone`: what the rows have there."""
    seen: set[str] = set()
    for kind in kinds:
        try:
            raw = _raw(path.split("."), kind, board)
        except Wrong:
            continue
        for row in rows:
            if type(row) is kind:
                seen.update(raw(row) or ())
                if len(seen) > MOST:
                    break
    return [f"{path}.{key}" for key in sorted(seen)[:MOST]]


def _raw(parts: list[str], kind: Any, board: Board) -> Get:
    return _way(parts, kind, board)[0]


def complete(begun: str, kinds: Sequence[type], board: Board, rows: Iterable[Any]) -> list[str]:
    """What a path that was begun may become, one part further: `ho` -> `host`, `host.`; `host.la` -> its labels."""
    low = begun.lower()
    found = [p for p in every_path(kinds, board, rows) if p.lower().startswith(low)]
    cut: dict[str, None] = {}
    for path in found:
        behind = path[len(begun):]
        keyed = any(f"{k}." in path[: len(begun)] or f".{k}." in f".{path}" for k in KEYED)
        dot = behind.find(".")
        cut[path if dot < 0 or keyed else path[: len(begun) + dot + 1]] = None
    return list(cut)


def unknown_key(path: str, kinds: Sequence[type], board: Board, rows: Sequence[Any]) -> str | None:
    """The nearest path with a label that some row has, when none has this one (empty: none is near); None: fine."""
    for word in KEYED:
        head, found, key = f".{path}".partition(f".{word}.")
        if found and key:
            known = _keys(f"{head}.{word}".lstrip("."), kinds, board, rows)
            return None if path in known else nearest(path, known)
    return None


def said_plain(value: Any) -> str:
    """A value nobody declared, as text."""
    if isinstance(value, Mapping):
        return " ".join(f"{k}={v}" if isinstance(v, (str, int, float)) else str(k) for k, v in value.items())
    if isinstance(value, (tuple, list, set, frozenset)):
        plain = all(isinstance(v, (str, int, float)) for v in value)
        return " ".join(str(v) for v in value) if plain else str(len(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


__all__ = ["ROWS", "complete", "every_path", "field_of", "kinds_of", "said_plain", "unknown_key"]
