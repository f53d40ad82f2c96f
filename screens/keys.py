"""Bindings, and screens that are handed every key first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar, cast

from textual import events
from textual.binding import Binding, BindingType
from textual.keys import key_to_character
from textual.screen import Screen

from cockpit.act.table import VERBS
from cockpit.homes import config_home
from cockpit.ports import Session
from screens.board import Board
from screens.look import Look
from screens.widgets.field import Field

if TYPE_CHECKING:
    from screens.app import CockpitApp

R = TypeVar("R")

NO_KEY = "no_key"
"""Stands for an empty list of keys: no terminal sends it."""
KEY_NAMES = {
    "slash": "/", "colon": ":", "question_mark": "?", "number_sign": "#", "escape": "Esc", "space": "space",
    "tab": "Tab",
    "enter": "enter", "ctrl+c": "^C", "pageup": "PgUp", "pagedown": "PgDn", "home": "Home", "end": "End",
    "up": "up", "down": "down", "left": "left", "right": "right", "equals_sign": "=", "ampersand": "&",
    "exclamation_mark": "!", "plus": "+", "minus": "-", "plus_sign": "+", "hyphen_minus": "-", "full_stop": ".",
    "comma": ",", "less_than_sign": "<", "greater_than_sign": ">",
}


def config_file() -> Path:
    """Where a person's own keys are (see `keymap`)."""
    return config_home() / "keys.toml"


def personal_keys() -> Mapping[str, tuple[str, ...]]:
    """The person's keys. Every screen is imported to judge them, so only when there is a file."""
    if not config_file().exists():
        return {}
    from screens.keymap import load

    return load()


def key_name(name: str) -> str:
    """A key as it is shown: `/`, `^P`, `Esc`."""
    if name in KEY_NAMES:
        return KEY_NAMES[name]
    if name.startswith("ctrl+"):
        return "^" + key_name(name.removeprefix("ctrl+")).upper()
    return name if len(name) == 1 else key_to_character(name) or name


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
    TYPING: ClassVar[bool] = False
    """Are letters text here? Then no letter can be a key."""
    field: Field | None = None

    def on_unmount(self) -> None:
        self._styles_cache.clear()  # see `let_go` in screens/widgets/lines.py

    def _compositor_refresh(self) -> None:
        if self.app._batch_count:
            # while the application starts Textual draws, and throws away what it drew: draw once, and all of it
            self._compositor._dirty_regions.add(self._compositor.size.region)
            return
        super()._compositor_refresh()

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

    def keys_of(self, id: str) -> list[str]:
        """The keys of a binding as they are now."""
        return [k for k, b in self.live_bindings() if b.id == id]

    def key_of(self, id: str) -> str:
        """The first key of a binding for a sentence; empty when it has none."""
        found = self.keys_of(id)
        return self.key_name(found[0]) if found else ""

    def key_name(self, name: str) -> str:
        return self.look.sign("enter") if name == "enter" else key_name(name)

    def bound_now(self) -> dict[str, list[Binding]]:
        """Key -> bindings of this screen, a keymap considered, also while another screen is on top."""
        bound = self._bindings.copy()
        keymap = self.app._keymap
        if keymap:
            bound.apply_keymap(keymap)
        return bound.key_to_bindings

    def live_bindings(self) -> list[tuple[str, Binding]]:
        """Key and binding of everything bound on this screen, a keymap considered."""
        return [(k, b) for k, found in self.bound_now().items() for b in found if k != NO_KEY]
