"""A first look in a few steps, on the real screens with the real keys. It changes nothing; Esc ends it anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from textual import events

from screens.format import wrap
from screens.sentences import spelled

if TYPE_CHECKING:
    from screens.app import CockpitApp
    from screens.base import ClusterScreen
    from screens.look import Piece


class Step(NamedTuple):
    id: str
    """Of the binding whose key leads on, and does what it does; empty: any Enter."""
    text: str
    typing: bool = False
    """Leads on when a line that is typed is sent."""


STEPS = (
    Step("move.down", "This is the cluster. The tree says what should run and what does; "
         "glyph, word and colour say how it is. <move.down> goes down one line."),
    Step("pane.next", "What needs you stands beside or below the tree, worst first; then what runs, "
         "then what just happened. <pane.next> goes there."),
    Step("go.instances", "Every list has a key, and so has every screen. <go.instances> lists all instances."),
    Step("filter", "Lists can be narrowed: a part of a name, or a condition like restarts>3. "
         "<filter> begins a filter."),
    Step("", "Type a part of a name and watch the list; Enter keeps the filter. Later, <back> takes it away.", True),
    Step("explain", "The most useful key when something is wrong: <explain> tells why, root causes first."),
    Step("go.help", "<go.help> shows every key that works where you are, and every verb."),
    Step("", "Verbs such as <verb.deploy> and <verb.restart> show a plan first; nothing runs before you said so. "
         "<back> always goes back. Enter ends the tour; :tour shows it again."),
)  # fmt: skip
CHANGING = ("verb.", "edit", "user", "shell", "approve", "refuse")
"""Ids of keys that rest during the tour, by their beginning."""


class Tour:
    """Where the operator is in it."""

    def __init__(self) -> None:
        self.at = 0
        self.asked = False
        """Was a key pressed that rests?"""

    @property
    def step(self) -> Step:
        return STEPS[self.at]

    def lines(self, screen: ClusterScreen, width: int) -> list[list[Piece]]:
        """What stands above the keys: the step, and how to end."""
        look = screen.look
        say = look.words.say
        own = screen.cockpit.own_keys
        text = spelled(say(self.step.text), own)
        if self.asked:
            text = say("The tour changes nothing: this key rests until Esc.") + " " + text
        lead = f" {look.sign('head')} {self.at + 1}/{len(STEPS)} "
        parts = wrap(look.text(text), max(20, width - len(lead) - 2), 3, look.sign("more"))
        out: list[list[Piece]] = [
            [(lead if n == 0 else " " * len(lead), "picked"), (part, "strong")] for n, part in enumerate(parts)
        ]
        end = say("Esc ends the tour")
        out.append([(" " * len(lead), "text"), (end, "muted")])
        return out


def begin(app: CockpitApp) -> None:
    """From the start, on the overview."""
    app.comfort.tour = Tour()

    async def go() -> None:
        while app.deep:
            await app.pop_screen()
        _show(app)

    app.call_later(go)


def _show(app: CockpitApp) -> None:
    for screen in app._seen():
        screen.show_bottom()


def end(app: CockpitApp) -> None:
    app.comfort.tour = None
    app.comfort.taste.like(toured=True)
    _show(app)


async def take_key(screen: ClusterScreen, event: events.Key) -> bool:
    """True when the tour used the key. The key of a step does what it always does."""
    app = screen.cockpit
    tour = app.comfort.tour
    if tour is None or event.key in ("ctrl+c", "ctrl+q"):
        return False
    if event.key == "escape":
        end(app)
        if screen.field is not None:
            await screen.end_field(False)
        return True
    tour.asked = False
    if screen.field is not None:
        if tour.step.typing and event.key == "enter":
            _on(app, tour)
        return False
    ids = [binding.id or "" for key, binding in screen.live_bindings() if key == event.key]
    if any(id.startswith(CHANGING) for id in ids):
        tour.asked = True
        screen.show_bottom()
        return True
    last = tour.at == len(STEPS) - 1
    if tour.step.id in ids or (event.key == "enter" and not tour.step.id):
        if last:
            end(app)
            return True
        _on(app, tour)
    return False


def _on(app: CockpitApp, tour: Tour) -> None:
    tour.at = min(tour.at + 1, len(STEPS) - 1)
    app.call_later(_show, app)
