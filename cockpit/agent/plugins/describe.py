"""`plugin.json`: what a plug-in says of itself. Pure; hosts and controller read it with the same code."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Tuple

FILE = "plugin.json"
MAX_FILE = 64 * 1024
NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
MAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\.py")
MAX_WORDS = 50
MAX_TIMEOUT = 24 * 3600.0
STARTS = ("use", "settings", "always")
"""use: with its first command; settings: while it has settings; always."""
KINDS: Dict[str, Tuple[type, ...]] = {
    "text": (str,), "number": (int, float), "flag": (bool,), "list": (list,), "object": (dict,),
}
FIELDS = ("name", "version", "about", "words", "main", "start", "settings", "limits", "wants")
WANTS = ("units",)


class Word(NamedTuple):
    """`timeout` in seconds; with `own_timeout` the argument `timeout` of a command counts instead. `input`: it takes
    what the controller sends while it runs. `place`: it is told where the instance of its argument is."""

    timeout: float
    observing: bool
    own_timeout: bool
    input: bool = False
    place: bool = False


FLAGS = Word._fields[1:]


class Limits(NamedTuple):
    """memory: bytes resident. open_files: a number. cpu_share: of one core, over half a minute. children: it
    starts programs of others, which must not inherit these limits."""

    memory: int
    open_files: int
    cpu_share: float
    children: bool


class Description(NamedTuple):
    name: str
    version: str
    about: str
    words: Dict[str, Word]
    main: str
    start: str
    settings: Dict[str, str]
    """Name -> kind (KINDS)."""
    limits: Limits
    wants: Tuple[str, ...]


class BadPlugin(ValueError):
    """The text says which field is wrong and what is wanted."""


def parse(data: bytes) -> Description:
    """Raises BadPlugin."""
    if len(data) > MAX_FILE:
        raise BadPlugin(f"{FILE} has more than {MAX_FILE} bytes")
    try:
        doc = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise BadPlugin(f"{FILE} is no JSON: {e}") from None
    if not isinstance(doc, dict):
        raise BadPlugin(f"{FILE}: an object is wanted")
    for key in doc:
        if key not in FIELDS:
            raise BadPlugin(f"{FILE}: no field {key!r:.40}; known are {', '.join(FIELDS)}")
    name, version = _match(doc, "name", NAME), _match(doc, "version", VERSION)
    main = _match({"main": "main.py", **doc}, "main", MAIN)
    start = doc.get("start", "use")
    if start not in STARTS:
        raise BadPlugin(f"{FILE}: start is one of {', '.join(STARTS)}")
    about = doc.get("about", "")
    if not isinstance(about, str) or len(about) > 200 or not about.isprintable():
        raise BadPlugin(f"{FILE}: about is one printable line")
    wants = doc.get("wants", [])
    if not isinstance(wants, list) or not all(w in WANTS for w in wants):
        raise BadPlugin(f"{FILE}: wants is a list of {', '.join(WANTS)}")
    settings = doc.get("settings", {})
    if not isinstance(settings, dict) or not all(kind in KINDS for kind in settings.values()):
        raise BadPlugin(f"{FILE}: settings maps names to one of {', '.join(KINDS)}")
    return Description(
        name, version, about, _words(doc.get("words", {})), main, start, dict(settings),
        _limits(doc.get("limits", {})), tuple(wants),
    )


def _match(doc: Mapping[str, Any], field: str, pattern: "re.Pattern[str]") -> str:
    value = doc.get(field)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise BadPlugin(f"{FILE}: {field} {value!r:.80} does not fit {pattern.pattern}")
    return value


def _words(doc: Any) -> Dict[str, Word]:
    if not isinstance(doc, dict) or len(doc) > MAX_WORDS:
        raise BadPlugin(f"{FILE}: words maps at most {MAX_WORDS} words to their facts")
    found = {}
    for word, facts in doc.items():
        if not NAME.fullmatch(word) or not isinstance(facts, dict):
            raise BadPlugin(f"{FILE}: word {word!r:.40}: small letters, digits and - with an object of facts")
        for key in facts:
            if key not in Word._fields:
                raise BadPlugin(f"{FILE}: word {word}: no fact {key!r:.40}; known are {', '.join(Word._fields)}")
        timeout = facts.get("timeout", 30.0)
        if not _number(timeout) or not 0 < timeout <= MAX_TIMEOUT:
            raise BadPlugin(f"{FILE}: word {word}: timeout is seconds, at most {MAX_TIMEOUT:g}")
        flags = [facts.get(key, False) for key in FLAGS]
        if not all(isinstance(flag, bool) for flag in flags):
            raise BadPlugin(f"{FILE}: word {word}: {', '.join(FLAGS)} are true or false")
        found[word] = Word(float(timeout), *flags)
    return found


def _limits(doc: Any) -> Limits:
    if not isinstance(doc, dict) or set(doc) - set(Limits._fields):
        raise BadPlugin(f"{FILE}: limits has {', '.join(Limits._fields)}")
    memory, files = doc.get("memory", 128 * 1024 * 1024), doc.get("open_files", 256)
    share, children = doc.get("cpu_share", 0.5), doc.get("children", False)
    if not isinstance(memory, int) or not 16 * 1024 * 1024 <= memory <= 16 * 1024**3:
        raise BadPlugin(f"{FILE}: limits.memory is bytes, 16 MiB to 16 GiB")
    if not isinstance(files, int) or not 16 <= files <= 65536:
        raise BadPlugin(f"{FILE}: limits.open_files is 16 to 65536")
    if not _number(share) or not 0.01 <= share <= 64:
        raise BadPlugin(f"{FILE}: limits.cpu_share is a share of one core, 0.01 to 64")
    if not isinstance(children, bool):
        raise BadPlugin(f"{FILE}: limits.children is true or false")
    return Limits(memory, files, float(share), children)


def check_settings(description: Description, settings: Mapping[str, Any]) -> List[str]:
    """What is wrong with settings; empty when nothing is."""
    wrong = []
    for name, value in settings.items():
        kind = description.settings.get(name)
        if kind is None:
            wrong.append(f"no setting {name!r:.40}")
        elif not isinstance(value, KINDS[kind]) or (kind == "number" and isinstance(value, bool)):
            wrong.append(f"{name}: a {kind} is wanted")
    return wrong


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
