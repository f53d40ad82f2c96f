"""Colour themes as data: those in `themes/`, and a person's own in $XDG_CONFIG_HOME/cockpit/themes/NAME.toml.

A theme may say `extends = "dark"` and only what it changes. Every mistake is told with file and line.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rich.errors import StyleSyntaxError
from rich.style import Style

import themes
from cockpit.homes import config_home

SHIPPED = (
    "dark", "light", "high-contrast", "deuteranopia", "tritanopia", "ansi16", "mono", "transparent",
)  # fmt: skip
KINDS: Mapping[str, type] = {
    "dark": bool, "ansi": bool, "colourless": bool, "background": str, "panel": str, "foreground": str,
    "cursor": str, "cursor_off": str,
}  # fmt: skip
"""Fields beside the styles."""
FREE = ("colourless",)
"""Fields that may be left out."""
MOST = 1 << 16
DEEPEST = 5
PLACE = Path(themes.__path__[0])
"""Where the shipped ones are."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}|ansi_default")


class Wrong(ValueError):
    """What is wrong with a theme, one line for each place."""


Stamp = tuple[str, int, int]
"""Path, modification time in ns, size; zeros when it is not there."""


@dataclass(frozen=True)
class Theme:
    name: str
    data: Mapping[str, Any]
    stamps: tuple[Stamp, ...] = ()
    """Of the files it was made of."""

    def changed(self) -> bool:
        """Is one of its files another one by now? Asks the file system."""
        return any(stamp(Path(path)) != (path, when, size) for path, when, size in self.stamps)


def own_folder() -> Path:
    return config_home() / "themes"


def stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return (str(path), 0, 0)
    return (str(path), found.st_mtime_ns, found.st_size)


def names(folder: Path | None = None) -> list[str]:
    """Shipped ones first, then a person's own."""
    folder = folder or own_folder()
    try:
        own = sorted(p.stem for p in folder.glob("*.toml") if _NAME.fullmatch(p.stem))
    except OSError:
        own = []
    return [*SHIPPED, *(n for n in own if n not in SHIPPED)]


def read(name: str, folder: Path | None = None) -> Theme:
    """The theme of this name; a person's own file goes before a shipped one. Raises Wrong."""
    folder = folder or own_folder()
    data, stamps = _read(name, folder, ())
    return Theme(name, data, tuple(stamps))


@cache
def words() -> frozenset[str]:
    """Every style word that a theme must have."""
    return frozenset(_shipped("dark")[0]["styles"])


def _shipped(name: str) -> tuple[dict[str, Any], str, Path]:
    path = PLACE / f"{name}.toml"
    source = path.read_text("utf-8")
    return tomllib.loads(source), source, path


def _source(name: str, folder: Path, after: tuple[Path, ...]) -> tuple[Path, str]:
    if not _NAME.fullmatch(name):
        raise Wrong(f"no theme {name!r}; there are {', '.join(names(folder))}")
    path = folder / f"{name}.toml"
    if path not in after:  # `dark` of one's own may extend the shipped `dark`
        try:
            with path.open("rb") as file:
                data = file.read(MOST + 1)
            if len(data) > MOST:
                raise Wrong(f"{path}: more than {MOST} bytes are no theme")
            return path, data.decode("utf-8")
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise Wrong(f"{path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise Wrong(f"{path}: it is not UTF-8") from None
    if name in SHIPPED:
        _, source, at = _shipped(name)
        return at, source
    near = _closest(name, names(folder))
    hint = f"; the nearest is {near!r}" if near else ""
    raise Wrong(f"no theme {name!r}{hint}; there are {', '.join(names(folder))}")


def _read(name: str, folder: Path, after: tuple[Path, ...]) -> tuple[dict[str, Any], list[Stamp]]:
    path, source = _source(name, folder, after)
    made = stamp(path)
    try:
        given = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        words_, _, place = str(error).partition(" (at ")
        found = re.search(r"line (\d+)", place)
        raise Wrong(f"{path}:{found[1] if found else source.count(chr(10)) + 1}: {words_}") from None
    base: dict[str, Any] = {}
    stamps = [made]
    below = given.pop("extends", None)
    if below is not None:
        line = _line(source, "extends")
        if not isinstance(below, str):
            raise Wrong(f'{path}:{line}: extends names a theme, for example "dark"')
        if path in after or len(after) >= DEEPEST:
            raise Wrong(f"{path}:{line}: {name} extends itself in the end")
        try:
            base, more = _read(below, folder, (*after, path))
        except Wrong as error:
            text = str(error)
            raise Wrong(text if text.startswith(str(folder)) else f"{path}:{line}: {text}") from None
        stamps += more
    data = {**base, **given}
    if isinstance(given.get("styles", {}), dict):
        data["styles"] = {**base.get("styles", {}), **given.get("styles", {})}
    _check(path, source, given, data, name)
    return data, stamps


def _line(source: str, key: str, section: str = "") -> int:
    here = ""
    for number, row in enumerate(source.splitlines(), 1):
        if head := re.match(r"\s*\[([\w-]+)\]", row):
            here = head[1]
        found = re.match(r"""\s*["']?([\w-]+)["']?\s*=""", row)
        if found and found[1] == key and here == section:
            return number
    return 1


def _closest(word: str, known: Iterable[str]) -> str:
    import difflib  # only for mistakes

    return next(iter(difflib.get_close_matches(word, sorted(known), 1, 0.5)), "")


def _near(word: str, known: Any) -> str:
    found = _closest(word, known)
    return f"; the nearest is {found!r}" if found else f"; there are {', '.join(sorted(known))}"


def _check(path: Path, source: str, given: Mapping[str, Any], data: Mapping[str, Any], name: str) -> None:
    """Raises Wrong with every mistake of the file."""
    wrong: list[tuple[int, str]] = []
    for key, value in given.items():
        at = _line(source, key)
        if key == "styles":
            if not isinstance(value, dict):
                wrong.append((at, "styles is a table: write [styles] above its words"))
            continue
        if key not in KINDS:
            wrong.append((at, f"no field {key!r}{_near(key, (*KINDS, 'extends', 'styles'))}"))
        elif not isinstance(value, KINDS[key]):
            what = "true or false" if KINDS[key] is bool else "a text"
            wrong.append((at, f"{key} is {what}"))
        elif key in ("background", "panel", "foreground") and not _COLOUR.fullmatch(str(value)):
            wrong.append((at, f"{key} is a colour such as #1c1c1c, or ansi_default; not {value!r:.40}"))
        elif key in ("cursor", "cursor_off") and (why := _style_wrong(str(value))):
            wrong.append((at, f"{key}: {why}"))
    styles = given.get("styles", {})
    if isinstance(styles, dict):
        known = words() if (name, path.parent) != ("dark", PLACE) else frozenset(styles)
        for word, value in styles.items():
            at = _line(source, word, "styles")
            if word not in known:
                wrong.append((at, f"no style word {word!r}{_near(word, known)}"))
            elif not isinstance(value, str):
                wrong.append((at, f'{word} is a style such as "bold #ffaf00"'))
            elif why := _style_wrong(value):
                wrong.append((at, f"{word}: {why}"))
        if not wrong:
            missing = sorted(known - data.get("styles", {}).keys()) + [
                k for k in KINDS if k not in data and k not in FREE
            ]
            if missing:
                wrong.append((1, f'it lacks {", ".join(missing)}; extends = "dark" gives what is not said'))
    if wrong:
        raise Wrong("\n".join(f"{path}:{line}: {why}" for line, why in sorted(wrong)))


def _style_wrong(value: str) -> str:
    try:
        if len(value) > 100:
            raise StyleSyntaxError("a style has a few words")
        Style.parse(value or "none")
    except StyleSyntaxError as error:
        return f"{value!r:.40} is no style ({error}); for example \"bold #ffaf00 on #262626\""
    return ""
