"""Keys inside sentences: `<go.hosts> lists the hosts` becomes `h lists the hosts`, or the person's own key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from textual.binding import Binding, BindingsMap

from cockpit.act.table import VERBS
from screens.general import GENERAL
from screens.keys import NO_KEY, key_name

_MARK = re.compile(r"<((?:go|verb)\.\w+|back|open|copy|messages|filter|explain|move\.down|pane\.next)>")


@cache
def _defaults() -> dict[str, str]:
    found = {f"verb.{name}": verb.key for name, verb in VERBS.items() if verb.key}
    for binding in BindingsMap(GENERAL).key_to_bindings.items():
        key, (first, *_) = binding
        if isinstance(first, Binding) and first.id:
            found.setdefault(first.id, key)
    return found


def spelled(text: str, own: Mapping[str, tuple[str, ...]]) -> str:
    """Every `<id>` as its key; as a word of the command line when it has none."""

    def key(found: re.Match[str]) -> str:
        id = found[1]
        name = own.get(id, (_defaults().get(id, NO_KEY),))[0]
        if name == NO_KEY:
            return ":" + id.rpartition(".")[2]
        return "Enter" if name == "enter" else key_name(name)

    return _MARK.sub(key, text)
