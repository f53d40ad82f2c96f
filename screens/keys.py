"""Bindings, and screens that are handed every key first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar, cast

from textual import events
from textual.binding import Binding, BindingType
from textual.screen import Screen

from cockpit.act.table import VERBS
from cockpit.ports import Session
from screens.board import Board
from screens.look import Look
from screens.widgets.field import Field

if TYPE_CHECKING:
    from screens.app import CockpitApp

R = TypeVar("R")

KEY_NAMES = {
    "slash": "/", "colon": ":", "question_mark": "?", "number_sign": "#", "escape": "Esc", "space": "space",
    "tab": "Tab",
    "enter": "enter", "ctrl+c": "^C", "pageup": "PgUp", "pagedown": "PgDn", "home": "Home", "end": "End",
    "up": "up", "down": "down", "left": "left", "right": "right", "equals_sign": "=", "ampersand": "&",
    "exclamation_mark": "!", "plus": "+", "minus": "-", "plus_sign": "+", "hyphen_minus": "-", "full_stop": ".",
    "comma": ",", "less_than_sign": "<", "greater_than_sign": ">",
}


def key(keys: str, action: str, label: str, tip: str, id: str) -> Binding:
    """Every binding is handled by the app itself, one key after the other: a verb typed right
    after a movement acts on the row that was moved to."""
    return Binding(keys, action, label, tooltip=tip, id=id, priority=True, show=False)


def verb_keys(*names: str) -> list[BindingType]:
    """Bindings of verbs, from the one table."""
    return [key(VERBS[n].key, f"verb('{n}')", n, VERBS[n].help, f"verb.{n}") for n in names if VERBS[n].key]


def go_key(letter: str, where: str, tip: str) -> Binding:
    return key(letter, f"go('{where}')", where, tip, f"go.{where}")


class KeyScreen(Screen[R], Generic[R], inherit_bindings=False):
    """A screen that is handed every key first, and may be typing a line."""

    AUTO_FOCUS = ""
    field: Field | None = None

    async def take_key(self, event: events.Key) -> bool:
        """True when the key was used and is not to be looked up."""
        return False

    def take_paste(self, text: str) -> None:
        if self.field is not None:
            self.field.paste(text)
            self.typed()

    def typed(self) -> None:
        """The field's text changed."""

    @property
    def cockpit(self) -> CockpitApp:
        return cast("CockpitApp", self.app)

    @property
    def look(self) -> Look:
        return self.cockpit.look

    @property
    def board(self) -> Board:
        return self.cockpit.board

    @property
    def session(self) -> Session:
        return self.cockpit.session

    def live_bindings(self) -> list[tuple[str, Binding]]:
        """Key and binding of everything bound on this screen, a keymap considered."""
        return [(k, b.binding) for k, b in self.active_bindings.items() if b.node is self]
