"""What is said about a key that has nothing to do on the screen where it was pressed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cockpit.act.table import VERBS, Verb
from screens.aim import why_not
from screens.keys import key_name

if TYPE_CHECKING:
    from textual import events

    from screens.base import ClusterScreen


def words(screen: ClusterScreen, event: events.Key) -> str:
    """Of a verb's key: why the verb does not work on what is under the cursor, or how it is begun from here."""
    verb = _verb(screen, event.key)
    if verb is None:
        name = event.character if event.character and event.character.isprintable() else key_name(event.key)
        return f"{name} does nothing here; <go.help> shows the keys that do."
    why = why_not(verb, screen.aim(), screen.board, screen.cockpit.read_only)
    return why or f"{verb.name} has no key on this screen; <command> and its name begin it."


def _verb(screen: ClusterScreen, pressed: str) -> Verb | None:
    own = screen.cockpit.own_keys
    return next((v for v in VERBS.values() if v.key and pressed in own.get(f"verb.{v.name}", (v.key,))), None)
