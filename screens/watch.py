"""`Y`: tell me when this changes. Instances, services, hosts and actions that the operator keeps an ear on.

The words come on whatever screen is open, stay in the messages, and ring as alerts do (COCKPIT_NOTIFY). An action is
watched until it ends. Nothing is kept for another run.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from cockpit.model.units import seconds_text
from cockpit.model.view import ABSENT, BADNESS, OK
from screens.aim import ACTION, HOST, INSTANCE, NODE, Aim
from screens.board import ENDED, Board
from screens.rows import action_mark, instance_word

if TYPE_CHECKING:
    from screens.base import ClusterScreen
    from screens.palette import Entry

MOST = 100
KINDS = (INSTANCE, NODE, HOST, ACTION)


class State(NamedTuple):
    """How a thing is, in words; two that are equal are no news."""

    word: str
    parts: tuple[str, ...] = ()
    """Further words, said when they differ: version, host."""
    mark: str = OK
    why: str = ""
    over: bool = False
    """It will not change any more."""


def state_of(board: Board, kind: str, name: str) -> State | None:
    """None: there is no such thing (any more)."""
    if kind == INSTANCE and (instance := board.instances.get(name)) is not None:
        version = instance.version_actual and f"version {instance.version_actual}"
        where = instance.host and f"on {instance.host}"
        return State(instance_word(instance), (version, where), instance.mark, instance.reason)
    if kind == NODE and (node := board.nodes.get(name)) is not None:
        versions = " and ".join(sorted(node.versions))
        word = f"{node.have} of {node.want}" + ("" if node.mark in ("ok", "changing") else f" ({node.mark})")
        return State(word, (versions and f"version {versions}",), node.mark)
    if kind == HOST and (host := board.hosts.get(name)) is not None:
        return State(host.presence, (), host.mark, host.reason)
    if kind == ACTION and (action := board.actions.get(name)) is not None:
        over = action.state in ENDED and action.ended is not None
        took = f" in {seconds_text(action.ended - action.started)}" if over and action.ended is not None else ""
        return State(action.state + took, (), action_mark(action), action.note, over)
    return None


def sentence(name: str, old: State, new: State | None) -> str:
    """`web/0 was running, is unhealthy: refused`."""
    if new is None:
        return f"{name} is gone"
    apart = [(a, b) for a, b in zip(old.parts, new.parts, strict=True) if a != b]
    was = " ".join([old.word, *(a for a, _ in apart if a)])
    now = " ".join([new.word, *(b for _, b in apart if b)])
    return f"{name} was {was}, is {now}" + (f": {new.why}" if new.why else "")


class Watch:
    """What is watched, and how it was when it was looked at last."""

    def __init__(self) -> None:
        self.things: dict[tuple[str, str], State] = {}

    def turn(self, board: Board, aim: Aim) -> str:
        """Watch these, or when all of them are, no longer. A sentence for the operator."""
        keys = [(aim.kind, id) for id in aim.ids]
        names = ", ".join(board.short(id) for id in aim.ids[:4])
        names += f" and {len(aim.ids) - 4} more" if len(aim.ids) > 4 else ""
        if all(k in self.things for k in keys):
            for key in keys:
                del self.things[key]
            return f"Not watched any longer: {names}."
        states = {k: s for k in keys if (s := state_of(board, *k)) is not None}
        if len(self.things | states) > MOST:
            return f"At most {MOST} things are watched; a service stands for its instances."
        over = [k for k, s in states.items() if s.over]
        if over:
            return f"{over[0][1]} has ended; nothing will change."
        self.things |= states
        return f"Watched: {names}. A change is told on every screen and rings."

    def news(self, board: Board) -> list[tuple[str, str]]:
        """(sentence, mark) of everything that changed since the last look, the worst last; what is over is let go."""
        out = []
        for (kind, name), old in list(self.things.items()):
            new = state_of(board, kind, name)
            if new is not None and new[:2] == old[:2]:
                continue
            title = board.short(name)
            if kind == ACTION and (row := board.actions.get(name)) is not None:
                title = f"{name} {board.shorten(row.title or row.verb)}"
            out.append((sentence(title, old, new), new.mark if new is not None else ABSENT))
            if new is None or new.over:
                del self.things[kind, name]
            else:
                self.things[kind, name] = new
        return sorted(out, key=lambda told: BADNESS[told[1]])


async def begin(screen: ClusterScreen) -> None:
    """The key: what is under the cursor, or, where nothing is, the list of what is watched."""
    watch, aim = screen.cockpit.watched, screen.aim()
    if aim and aim.kind in KINDS:
        screen.say(watch.turn(screen.board, aim), "ok")
    elif watch.things:
        from screens.palette import PaletteScreen

        await screen.app.push_screen(PaletteScreen(screen, ["screens.watch:entries"], "Watched", large=False))
    else:
        screen.say("Nothing is watched: put the cursor on an instance, a service, a host or an action.", "paused")


def entries(screen: ClusterScreen) -> Iterable[Entry]:
    from screens.palette import Entry

    ways = {INSTANCE: "node", NODE: "instances", HOST: "host", ACTION: "action"}
    for (kind, name), state in screen.cockpit.watched.things.items():
        yield Entry(screen.board.short(name), "watched", partial(_goto, (ways[kind], name)), state.word)


async def _goto(words: tuple[str, ...], screen: ClusterScreen) -> None:
    await screen.cockpit.goto(words)
