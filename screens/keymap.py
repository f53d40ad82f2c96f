"""Keys by the id of what they do: the defaults, a person's own file over them, and what is wrong with that file.

The file is $XDG_CONFIG_HOME/cockpit/keys.toml: `"sort" = ["o", "ctrl+o"]`; an empty list takes the key away.
"""

from __future__ import annotations

import difflib
import json
import pkgutil
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from textual.keys import KEY_ALIASES, Keys, _character_to_key, key_to_character

import screens
from screens.keys import KEY_NAMES, NO_KEY, KeyScreen, config_file

FIXED = frozenset({"leave"})
"""Ids that keep their keys: there is always a way out."""
MOST = 1 << 16
_SAME = {alias: key for key, aliases in KEY_ALIASES.items() for alias in aliases}
"""Keys that a terminal cannot tell from another: ctrl+i is tab."""
_KNOWN = frozenset(k.value for k in Keys) | frozenset(KEY_ALIASES) | {f"f{n}" for n in range(1, 25)}


class Entry(NamedTuple):
    id: str
    keys: tuple[str, ...]
    label: str
    tip: str
    where: tuple[str, ...]
    """Screens that have it; empty: every one."""
    typing: bool
    """Does it work while a line is typed, in a dialog?"""


@cache
def families() -> dict[str, dict[str, list[tuple[str, str, str]]]]:
    """Every screen's class name -> key -> (id, label, tooltip) of what is bound there. Imports every screen."""
    for module in pkgutil.iter_modules(screens.__path__):
        if not module.ispkg:
            import_module(f"screens.{module.name}")
    out: dict[str, dict[str, list[tuple[str, str, str]]]] = {}
    queue: list[type[Any]] = [KeyScreen]
    while queue:
        cls = queue.pop()
        queue += cls.__subclasses__()
        bound = cls._merged_bindings
        if bound is not None and cls.__module__.startswith("screens."):
            rows = {
                key: [(b.id or "", b.description, b.tooltip) for b in bindings]
                for key, bindings in bound.key_to_bindings.items()
            }
            if rows:
                out[cls.__name__] = rows
                _TYPING[cls.__name__] = cls.TYPING
    return out


_TYPING: dict[str, bool] = {}


@cache
def entries() -> list[Entry]:
    """Every id with its default keys, those that work everywhere first."""
    keys: dict[str, dict[str, None]] = {}
    words: dict[str, tuple[str, str]] = {}
    places: dict[str, list[str]] = {}
    general = {id for found in families().get("ClusterScreen", {}).values() for id, _, _ in found}
    for name, rows in sorted(families().items()):
        for key, found in rows.items():
            for id, label, tip in found:
                keys.setdefault(id, {})[key] = None
                words.setdefault(id, (label, tip))
                if name not in places.setdefault(id, []):
                    places[id].append(name)
    out = []
    for id in sorted(keys, key=lambda i: (i not in general, i)):
        where = () if id in general else tuple(dict.fromkeys(spoken(n) for n in places[id]))
        out.append(Entry(id, tuple(keys[id]), *words[id], where, any(_TYPING[n] for n in places[id])))
    return sorted(out, key=lambda e: (bool(e.where) + (bool(e.where) and not _verb(e)), e.where * (not _verb(e))))


def _verb(entry: Entry) -> bool:
    return entry.id.startswith("verb.")


def spoken(cls: str) -> str:
    """`InstancesScreen` as a person says it."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", cls.removesuffix("Screen")).lower()


def short(key: str) -> str:
    """A key as it is printed and written into the file: `/`, `ctrl+p`, `pageup`."""
    if len(key) == 1 or key in _PLAIN:
        return key
    named = KEY_NAMES.get(key, "")
    return named if len(named) == 1 else key_to_character(key) or key


_PLAIN = frozenset({"space", "tab", "enter", "escape", "backspace", "delete"})


class Wrong(ValueError):
    """What is wrong with the file, one line for each place."""


def load(path: Path | None = None) -> dict[str, tuple[str, ...]]:
    """Id -> keys of the person's file, {} without one. Raises Wrong with every mistake, each with file and line."""
    path = path or config_file()
    try:
        with path.open("rb") as file:
            data = file.read(MOST + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise Wrong(f"{path}: {error.strerror}") from None
    if len(data) > MOST:
        raise Wrong(f"{path}: more than {MOST} bytes are no list of keys")
    try:
        source = data.decode("utf-8")
        given = dict(_flat(tomllib.loads(source)))
    except UnicodeDecodeError:
        raise Wrong(f"{path}: it is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise Wrong(_placed(path, str(error), source.count("\n") + 1)) from None
    return checked(given, lambda id: f"{path}:{_line(source, id)}")


def _placed(path: Path, why: str, last: int) -> str:
    words, _, place = why.partition(" (at ")
    found = re.search(r"line (\d+)", place)
    clash = "overwrite" in words.lower() or "namespace" in words
    hint = '; an id with a dot stands in quotes: "sort.turn" = ["O"]' if clash else ""
    return f"{path}:{found[1] if found else last}: {words}{hint}"


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value


def _line(source: str, id: str) -> int:
    """Where an id is set."""
    section = ""
    for number, row in enumerate(source.splitlines(), 1):
        if head := re.match(r"\s*\[([^\[\]]+)\]", row):
            section = re.sub(r"[\"'\s]", "", head[1]) + "."
        found = re.match(r"""\s*([\w."'\s-]+?)\s*=""", row)
        if found and section + re.sub(r"[\"'\s]", "", found[1]) == id:
            return number
    return 1


def checked(given: Mapping[str, Any], place: Any = lambda id: id) -> dict[str, tuple[str, ...]]:
    """Ids with their keys in Textual's words. Raises Wrong for ids, keys and conflicts that cannot be."""
    ids = {e.id: e for e in entries()}
    wrong: list[tuple[str, str]] = []
    out: dict[str, tuple[str, ...]] = {}
    for id, value in given.items():
        if id in FIXED:
            wrong.append((id, f"{id} keeps its keys: there is always a way out"))
        elif id not in ids:
            near = difflib.get_close_matches(id, ids, 1, 0.5) or [i for i in ids if i.endswith(f".{id}")][:1]
            wrong.append((id, f"no id {id!r}" + (f"; the nearest is {near[0]!r}" if near else "")
                          + ". `cockpit keys` lists them"))
        elif not isinstance(value, list) or not all(isinstance(k, str) for k in value):
            example = json.dumps([short(k) for k in ids[id].keys])
            wrong.append((id, f"{id} takes a list of keys, for example {example}"))
        else:
            keys = [normal(k) for k in value]
            for key, name in zip(keys, value, strict=True):
                if why := _unusable(key, name, ids[id]):
                    wrong.append((id, why))
            out[id] = tuple(dict.fromkeys(keys)) or (NO_KEY,)
    wrong += _conflicts(out)
    if wrong:
        raise Wrong("\n".join(dict.fromkeys(f"{place(id)}: {why}" for id, why in wrong)))
    return out


def normal(key: str) -> str:
    """`/` and `ctrl+/` as Textual calls them."""
    head, plus, last = key.rpartition("+") if len(key) > 1 else ("", "", key)
    if not last:  # `ctrl++`
        head, last = head.rstrip("+"), "+"
    name = head.lower() + plus + (_character_to_key(last) if len(last) == 1 else last.lower())
    return _SAME.get(name, name)


def no_key(key: str, name: str) -> str:
    """Why a key, and its name as it was written, can be given to nothing; empty when it can."""
    last = key.rpartition("+")[2] if len(key) > 1 else key
    if key in ("ctrl+c", "ctrl+q"):
        return f"{name} leaves the cockpit whatever happens, and cannot be given away"
    if key.startswith("alt+") and (len(last) == 1 or key_to_character(last) is not None):
        return f"{name} comes as Esc and the key behind it, and goes back first: no key can be with Alt"
    single = len(name) == 1 or name[-2:-1] == "+"
    if not single and last not in _KNOWN and key not in _KNOWN and key_to_character(last) is None:
        near = difflib.get_close_matches(last, sorted(_KNOWN), 1, 0.6)
        return f"no key {name!r}" + (f"; the nearest is {near[0]!r}" if near else "")
    return ""


def _unusable(key: str, name: str, entry: Entry) -> str:
    if why := no_key(key, name):
        return f"{entry.id}: {why}"
    if entry.typing and (key_to_character(key) or "\t").isprintable():
        return f"{entry.id}: a line is typed there, so {name!r} would be text; take a key like ctrl+n or f2"
    return ""


def _conflicts(own: Mapping[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    out: dict[tuple[str, str], tuple[str, list[str]]] = {}
    for name, rows in sorted(families().items()):
        holders: dict[str, dict[str, None]] = {}
        for key, found in rows.items():
            for id, _, _ in found:
                for each in own.get(id, (key,)):
                    holders.setdefault(each, {})[id] = None
        for key, ids in holders.items():
            mine = [i for i in ids if i in own]
            if key == NO_KEY or len(ids) < 2 or not mine:
                continue
            rest = ", ".join(i for i in ids if i != mine[0])
            out.setdefault((mine[0], key), (rest, []))[1].append(spoken(name))
    words = []
    for (id, key), (others, where) in out.items():
        on = "every screen" if "cluster" in where else f"the screen {', '.join(where[:3])}"
        words.append((id, f"{id}: {short(key)} is the key of {others} on {on} as well; give one of them another key"))
    return words


def clashes() -> list[str]:
    """Default keys that two ids of one screen share; none in a release."""
    return [
        f"{name}: {key} is {' and '.join(i for i, _, _ in found)}"
        for name, rows in families().items() for key, found in rows.items() if len({i for i, _, _ in found}) > 1
    ]


def listing(form: str = "text") -> str:
    """Every key with its id and meaning, a person's own ones considered. `form`: text, or toml to begin a file.

    Raises Wrong for a file that cannot be used.
    """
    own = load()
    out: list[str] = []
    if form == "toml":
        out.append("# Keys of the cockpit. Uncomment what you change; an empty list takes the key away.")
    before = ""
    for entry in entries():
        title = "Verbs, on the screens that have what they work on" if _verb(entry) else (
            f"On {', '.join(entry.where)}" if entry.where else "On every screen"
        )
        if title != before:
            out += ["", f"# {title}" if form == "toml" else title]
            before = title
        keys = own.get(entry.id, entry.keys)
        if form == "toml":
            listed = ", ".join(json.dumps(short(k), ensure_ascii=False) for k in keys if k != NO_KEY)
            off = "" if entry.id in own else "# "
            out.append(f'{off}"{entry.id}" = [{listed}]  # {entry.tip}')
        else:
            written = " ".join(short(k) for k in keys if k != NO_KEY) or "-"
            mine = " *" if entry.id in own else ""
            out.append(f"  {written:<18} {entry.id + mine:<22} {entry.tip}")
    if own and form != "toml":
        out += ["", f"* from {config_file()}"]
    return "\n".join(out).strip("\n") + "\n"
