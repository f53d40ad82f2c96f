"""Keys inside sentences: `<go.hosts> lists the hosts` becomes `h lists the hosts`, or the person's own key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache

from textual.binding import Binding, BindingsMap

from cockpit.act.table import VERBS
from screens.general import GENERAL
from screens.keys import NO_KEY, key_name

_MARK = re.compile(r"<([a-z]+(?:\.[a-z]+)?)>")


def _nowhere(id: str) -> list[str]:
    return []


@cache
def _defaults() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {f"verb.{name}": (verb.key or NO_KEY,) for name, verb in VERBS.items()}
    for binding in BindingsMap(GENERAL).key_to_bindings.items():
        key, (first, *_) = binding
        if isinstance(first, Binding) and first.id:
            found.setdefault(first.id, (key,))
    return found


def key_for(
    id: str, own: Mapping[str, tuple[str, ...]], here: Callable[[str], list[str]] = _nowhere
) -> str | None:
    """The key of an id: `here` gives those of the screen in sight, `own` is the person's file. As a word of the
    command line when it has none; None for what is no id at all."""
    names = here(id) or own.get(id) or _defaults().get(id, ())
    if not names:
        return None
    if names[0] == NO_KEY:
        return ":" + id.rpartition(".")[2]
    return "Enter" if names[0] == "enter" else key_name(names[0])


def spelled(text: str, own: Mapping[str, tuple[str, ...]], here: Callable[[str], list[str]] = _nowhere) -> str:
    """Every `<id>` as its key; what is no id stays as it is."""
    return _MARK.sub(lambda found: key_for(found[1], own, here) or found[0], text) if "<" in text else text
