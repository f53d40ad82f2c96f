"""Theme and language of the running screens: chosen, changed, reloaded when a file changes; and the tour's place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.color import ColorSystem
from textual.app import App
from textual.theme import BUILTIN_THEMES, Theme

from screens import colours, themes, words
from screens.look import Look, choose_ascii
from screens.taste import Taste

if TYPE_CHECKING:
    from screens.app import CockpitApp
    from screens.tour import Tour

WORDS = ("theme", "language", "tour")
"""Names of `places.PLACES` that are no screens."""


class Comfort:
    """Made before the application, which it is then told."""

    def __init__(self, taste: Taste, asked: str | None = None, environ: Mapping[str, str] | None = None) -> None:
        """Raises ValueError for a theme or a language that cannot be used."""
        env = os.environ if environ is None else environ
        self.taste = taste
        self.depth = colours.depth(env)
        self.theme, self.guessed = colours.choose(asked, env, self._check, taste.likes.theme)
        self.words = words.Words(words.choose(env, taste.likes.language))
        self.tour: Tour | None = None
        self.narrow = False
        """Can only ASCII be written?"""
        self._made = 0

    def write_in(self, encoding: str) -> None:
        """Where only ASCII can be written the screens are English, whatever was chosen."""
        self.narrow = choose_ascii(None, encoding)
        if self.narrow:
            self.words = words.Words()

    def _check(self, name: str) -> None:
        """Raises `themes.Wrong`; for the remembered one it is also kept, to be told on the first screen."""
        try:
            themes.read(name)
        except themes.Wrong as error:
            if name == self.taste.likes.theme:
                self.taste.complaints.append(f"{error}. The usual theme is shown instead.")
            raise

    def begin(self, app: CockpitApp) -> None:
        """The first theme, and as many colours as the terminal can show."""
        self.app = app
        name = colours.SYSTEMS[self.depth]
        if not app.is_headless:
            app.console._color_system = ColorSystem[name] if name else None
        # as if the theme had always been this one: a change would read every style sheet anew
        theme = self.textual_theme(app.look)
        app.register_theme(theme)
        app.set_reactive(App.theme, theme.name)
        app.set_class(theme.dark, "-dark-mode", update=False)
        app.set_class(not theme.dark, "-light-mode", update=False)
        app.stylesheet.set_variables(app.get_css_variables())

    def textual_theme(self, look: Look) -> Theme:
        """The same for what Textual itself draws: the grounds."""
        data = look.data
        self._made += 1  # a name of its own, else Textual takes a theme of the same name for the same
        name = f"cockpit-{look.theme}-{self._made}"
        if data["ansi"]:
            # Textual's own widgets ask for variables that only its ansi theme defines
            return replace(BUILTIN_THEMES["ansi-dark"], name=name)
        return Theme(
            name=name, primary=data["foreground"], foreground=data["foreground"], background=data["background"],
            surface=data["background"], panel=data["panel"], dark=bool(data["dark"]),
        )  # fmt: skip

    def _show(self) -> None:
        theme, old = self.textual_theme(self.app.look), self.app.theme
        self.app.register_theme(theme)
        self.app.theme = theme.name
        if old.startswith("cockpit-"):
            self.app.unregister_theme(old)

    def use(self, theme: themes.Theme) -> None:
        """Draw everything in this theme."""
        self.app.look.use(theme)
        self._show()
        self.app._look_changed()

    def tick(self) -> None:
        """Every second: has a file of the theme changed?"""
        look = self.app.look
        if not look.made_of.changed():
            return
        try:
            self.use(themes.read(look.theme))
        except themes.Wrong as error:
            # told once for each state of the files; the theme in force stays
            now = tuple(themes.stamp(Path(path)) for path, _, _ in look.made_of.stamps)
            look.made_of = replace(look.made_of, stamps=now)
            self.app.tell(f"{error}. The theme stays as it was.", "failed")

    def ground(self, reply: str) -> None:
        """The terminal told its ground: a theme that was a guess follows it."""
        light = colours.ground_of(reply)
        if self.guessed and light is not None:
            self.guessed = False
            wanted = "light" if light else "dark"
            if self.app.look.theme != wanted:
                self.use(themes.read(wanted))

    def go(self, word: str, rest: tuple[str, ...]) -> None:
        """`:theme NAME`, `:language zh`, `:tour`."""
        if word == "tour":
            from screens.tour import begin

            begin(self.app)
        elif word == "theme":
            self._theme(rest)
        else:
            self._language(rest)
        self._complain()

    def _complain(self) -> None:
        for complaint in self.taste.complaints:
            self.app.tell(complaint)
        self.taste.complaints.clear()

    def _theme(self, rest: tuple[str, ...]) -> None:
        if len(rest) != 1:
            self.app.tell(f"theme takes one name: {', '.join(themes.names())}", "paused")
            return
        if self.depth == colours.NONE and rest[0] != "mono":
            self.app.tell("This terminal shows no colours (NO_COLOR, or its TERM): the theme is mono.", "paused")
            return
        try:
            theme = themes.read(rest[0])
        except themes.Wrong as error:
            self.app.tell(f"{error}. The theme stays as it was.", "failed")
            return
        self.guessed = False
        self.use(theme)
        self.taste.like(theme=theme.name)
        self.app.tell(f"The theme is {theme.name} from now on.", "ok")

    def _language(self, rest: tuple[str, ...]) -> None:
        ascii = self.app.look.ascii
        there = ", ".join(
            f"{code} ({name})" if name.isascii() or not ascii else code for code, name in words.LANGUAGES.items()
        )
        if len(rest) != 1:
            self.app.tell(f"language takes one of {there}", "paused")
            return
        try:
            code = words.named(rest[0])
        except ValueError as error:
            self.app.tell(str(error))
            return
        if self.narrow and code != "en":
            self.app.tell("This terminal writes ASCII only; another language needs a UTF-8 locale.", "paused")
            return
        self.app.look.words = words.Words(code)
        self.taste.like(language=code)
        self.app._look_changed()
        self.app.tell(f"The language is {words.LANGUAGES[code]} from now on.", "ok")

    def opened(self) -> None:
        """The first screen is there: offer the tour, once in a person's life."""
        if self.taste.kept and not self.taste.likes.toured:
            self.taste.like(toured=True)
            self.app.tell("New here? :tour shows the keys in a minute, and changes nothing.", "paused")
        self._complain()
