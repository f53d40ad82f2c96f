"""`shortcuts.toml`: words of one's own behind `:`, keys of one's own for lines, and sets of views opened as tabs.

    [aliases]
    bad = "instances drift"
    dw = "deploy web"                  # what is typed behind it is added: `:dw 1.2.0`
    [keys]
    f5 = "bad"
    [workspaces]
    checkout = ["instances web", "logs web", "graph web"]

$XDG_CONFIG_HOME/cockpit/shortcuts.toml, then .../cockpit/CLUSTER/shortcuts.toml. Whatever is sound is used; what is
not is told with its line, and left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cockpit.act.table import VERBS
from cockpit.homes import config_home
from cockpit.model.problems import nearest
from screens.address import LIMIT
from screens.memory import TABS
from screens.places import PLACES

SECTIONS = ("aliases", "keys", "workspaces")
MOST = 200
"""Entries of one section."""
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")


class Shortcuts(NamedTuple):
    aliases: Mapping[str, str] = {}
    """Word -> line, aliases in it already replaced."""
    keys: Mapping[str, str] = {}
    """Key in Textual's words -> line as it was written."""
    workspaces: Mapping[str, tuple[str, ...]] = {}
    """Word -> lines of screens, at most as many as there can be tabs."""
    problems: tuple[str, ...] = ()

    def expand(self, line: str) -> str:
        """A typed line with its first word replaced when that is an alias."""
        word, blank, rest = line.partition(" ")
        return f"{self.aliases[word]}{blank}{rest}" if word in self.aliases else line

    def words(self) -> list[str]:
        return [*self.aliases, *self.workspaces]

    def about(self, word: str) -> str:
        """What a word of one's own stands for; empty when it is none."""
        if word in self.aliases:
            return f"yours: {self.aliases[word]}"
        return f"yours, as tabs: {', '.join(self.workspaces[word])}" if word in self.workspaces else ""


def files_for(cluster: str) -> tuple[Path, ...]:
    """For every cluster, then for this one; of two entries of one name the later counts."""
    base = config_home()
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", cluster)
    return (base / "shortcuts.toml", *([base / cluster / "shortcuts.toml"] if plain else []))


class Watched:
    """The shortcuts of one person; read again when a file has changed."""

    def __init__(self) -> None:
        self.now = Shortcuts()
        self._files: tuple[Path, ...] = ()
        self._stamps: tuple[object, ...] = ()
        self._told: tuple[str, ...] = ()

    def open(self, cluster: str) -> None:
        """Use the files of this cluster from now on."""
        self._files, self._stamps = files_for(cluster), ()
        self.look()

    def look(self) -> bool:
        """Has a file changed? Then it was read again."""
        stamps = tuple(_stamp(path) for path in self._files)
        if stamps == self._stamps:
            return False
        self._stamps = stamps
        self.now = load(self._files)
        return True

    def news(self, taken: Mapping[str, str]) -> list[str]:
        """What is wrong with the files and was not told before. `taken`: keys of every screen -> what they do."""
        mine = tuple(f"shortcuts.toml: {taken[key]} has the key {key} on every screen, and keeps it"
                     for key in self.now.keys if key in taken)
        now = (*self.now.problems, *mine)
        fresh = [p for p in now if p not in self._told]
        self._told = now
        return fresh


def _stamp(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode, found.st_uid


def load(files: Iterable[Path]) -> Shortcuts:
    """What the files hold; a file that is not there holds nothing."""
    files = [path for path in files if _stamp(path) is not None]
    if not files:
        return Shortcuts()
    import tomllib

    from cockpit.useractions.config import read_own

    sections: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    places: dict[tuple[str, str], str] = {}
    problems: list[str] = []
    for path in files:
        text, problem = read_own(path)
        if problem:
            problems.append(f"{path} {problem}")
        if text is None:
            continue
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            found = re.search(r"line (\d+)", str(error))
            problems.append(f"{path}:{found[1] if found else 1}: {str(error).partition(' (at')[0]}")
            continue
        for section, entries in document.items():
            if section not in SECTIONS or not isinstance(entries, dict):
                problems.append(
                    f"{path}:{_line(text, section)}: {section}: there are [aliases], [keys] and [workspaces]"
                    + _near(section, SECTIONS)
                )
                continue
            for name, value in list(entries.items())[:MOST]:
                sections[section][name] = value
                places[section, name] = f"{path}:{_line(text, name)}"
    return _checked(sections, places, problems)


def _line(text: str, name: str) -> int:
    """Where a name is set, or its table is opened."""
    wanted = re.compile(rf"\s*\[?\s*['\"]?{re.escape(name)}['\"]?\s*[=\].]")
    return next((n for n, row in enumerate(text.splitlines(), 1) if wanted.match(row)), 1)


def _checked(
    sections: Mapping[str, Mapping[str, Any]], places: Mapping[tuple[str, str], str], problems: list[str]
) -> Shortcuts:
    """What is sound of it."""
    from screens.keymap import no_key, normal

    given = {name: value for name, value in sections["aliases"].items()}
    wrong = {name: _name(name) or _wrong_line(value) for name, value in given.items()}
    aliases: dict[str, str] = {}
    for name in given:
        if not wrong[name]:
            wrong[name], line = _whole(name, given)
            if not wrong[name]:
                aliases[name] = line
    problems += [f"{places['aliases', n]}: {n}: {why}" for n, why in wrong.items() if why]
    workspaces: dict[str, tuple[str, ...]] = {}
    for name, value in sections["workspaces"].items():
        lines = tuple(value) if isinstance(value, list) else ()
        why = _name(name) or ("an alias has this name" if name in aliases else "") or (
            "" if lines and len(lines) <= TABS else f"it is a list of 1 to {TABS} lines"
        )
        for line in lines:
            why = why or _wrong_line(line) or _no_screen(Shortcuts(aliases).expand(line))
        if why:
            problems.append(f"{places['workspaces', name]}: {name}: {why}")
        else:
            workspaces[name] = lines
    keys: dict[str, str] = {}
    for name, value in sections["keys"].items():
        key = normal(name) if name else ""
        why = (no_key(key, name) if key else "a key has a name") or _wrong_line(value)
        if not why and value.split(" ")[0] not in workspaces:
            why = _unknown(Shortcuts(aliases).expand(value))
        if not why and key in keys:
            why = "it is the key of another line"
        if why:
            problems.append(f"{places['keys', name]}: {name}: {why}")
        else:
            keys[key] = value
    return Shortcuts(aliases, keys, workspaces, tuple(problems))


def _name(name: str) -> str:
    if name in PLACES or name in VERBS:
        return f"{name} is a {'screen' if name in PLACES else 'verb'} already; take another word"
    return "" if NAME.fullmatch(name) else "a word is of letters, digits, - and _, at most 40"


def _wrong_line(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        return 'it stands for a line, for example "instances drift"'
    if len(value) > LIMIT or not value.isprintable():
        return f"a line has at most {LIMIT} characters, and all can be printed"
    return ""


def _whole(name: str, given: Mapping[str, Any]) -> tuple[str, str]:
    """(what is wrong, the line with every alias in it replaced)."""
    line, seen = str(given[name]).strip(), [name]
    while True:
        word, blank, rest = line.partition(" ")
        if word not in given or word in PLACES or word in VERBS:
            return _unknown(line), line
        if word in seen:
            return f"it leads back to itself: {' > '.join([*seen, word])}", ""
        if not isinstance(given[word], str):
            return f"{word} is no line", ""
        seen.append(word)
        line = f"{given[word].strip()}{blank}{rest}"


def _unknown(line: str) -> str:
    """The first word must be a screen or a verb, as it is typed."""
    word = line.split(" ")[0]
    if word in VERBS or sum(p.startswith(word) for p in PLACES) == 1 or word in PLACES:
        return ""
    return f"no screen and no verb {word!r}" + _near(word, [*PLACES, *VERBS])


def _near(word: str, words: Iterable[str]) -> str:
    found = nearest(word, words)
    return f'; did you mean "{found}"?' if found else ""


def _no_screen(line: str) -> str:
    word = line.split(" ")[0]
    return f"{word} is a verb; a workspace opens screens" if word in VERBS else _unknown(line)

