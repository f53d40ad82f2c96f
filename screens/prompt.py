"""Keys while a line is typed at the bottom of a screen: they have ids like all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType

from screens.keys import KeyScreen, key, key_name

if TYPE_CHECKING:
    from screens.app import CockpitApp


class PromptScreen(KeyScreen[None]):
    """Only a list of keys: the line is drawn by the screen it belongs to."""

    TYPING = True
    BINDINGS: ClassVar[list[BindingType]] = [
        key("enter", "keep", "go", "Send the line, or keep the filter.", "prompt.keep"),
        key("escape", "drop", "no", "Close the line; a filter shows all again.", "prompt.drop"),
        key("tab", "complete", "complete", "The next word that fits.", "prompt.complete"),
        key("up", "older", "older", "The line typed before.", "prompt.older"),
        key("down", "newer", "newer", "The line typed after.", "prompt.newer"),
    ]


def prompt_ids(app: CockpitApp) -> dict[str, str]:
    """Key -> id, the person's own keys considered."""
    if app.prompt_keys is None:
        own = app.own_keys
        app.prompt_keys = {
            key: id
            for default, bindings in PromptScreen._merged_bindings.key_to_bindings.items()  # type: ignore[union-attr]
            for id in (bindings[0].id or "",) for key in own.get(id, (default,))
        }
    return app.prompt_keys


def prompt_note(app: CockpitApp, kind: str) -> str:
    """The keys of the line, for its right end; `kind`: filter or command."""
    names: dict[str, str] = {}
    for name, id in prompt_ids(app).items():
        names.setdefault(id.removeprefix("prompt."), "Enter" if name == "enter" else key_name(name))
    if kind == "filter":
        return f"{names.get('keep', '')} keep   {names.get('drop', '')} all"
    return f"{names.get('complete', '')} complete   {names.get('keep', '')} go   {names.get('drop', '')} no"
