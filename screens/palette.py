"""The palette: everything that can be gone to or done, found by parts of its name.

A source gives entries for the screen one came from; large tables are pools that are searched as one text. Another
module adds its own by a line in SOURCES: `def entries(screen) -> Iterable[Entry]`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from importlib import import_module
from typing import ClassVar, NamedTuple

from cockpit.act.table import VERBS
from screens.aim import why_not
from screens.ask import AskScreen, Option, Question
from screens.base import ClusterScreen
from screens.format import cells, cut, fit
from screens.keys import key_name
from screens.places import PLACES
from screens.ranking import Pool, best
from screens.sentences import key_for, spelled
from screens.spots import UNKEPT

SHOWN = 12
MOST = 200
"""Entries listed for one query."""
WEIGHT = {"verb": 1.15, "key": 0.5, "screen": 1.2, "tab": 1.1, "bookmark": 1.1, "service": 1.1, "action": 0.9}
"""Of equally good names, what is meant more often stands first; 1 for kinds not listed."""


class Entry(NamedTuple):
    name: str
    """What is searched and shown."""
    kind: str
    run: Callable[[ClusterScreen], Awaitable[None]]
    note: str = ""
    """The key that does the same, or a few words."""
    off: str = ""
    """Why it does not work here now."""


async def _open(address: str, screen: ClusterScreen) -> None:
    await screen.cockpit.open(address)


async def _goto(words: tuple[str, ...], screen: ClusterScreen) -> None:
    await screen.cockpit.goto(words)


async def _verb(name: str, screen: ClusterScreen) -> None:
    await screen.cockpit.begin_verb(screen, name, screen.aim())


async def _press(id: str, screen: ClusterScreen) -> None:
    await screen.open_door(f"press:{id}")


def screen_entries(screen: ClusterScreen) -> Iterable[Entry]:
    from screens.address import shape

    keys = {b.id: key_name(k) for k, b in reversed(screen.live_bindings()) if (b.id or "").startswith("go.")}
    for name, place in PLACES.items():
        if name == "quit" or (place.where and shape(name).least):
            continue
        yield Entry(name, "screen", partial(_open, name), keys.get(f"go.{name}") or place.about)


def verb_entries(screen: ClusterScreen) -> Iterable[Entry]:
    aim, board = screen.aim(), screen.board
    ids = [board.short(i) for i in aim.ids[:2]]
    on = f" {', '.join(ids)}{f' and {len(aim.ids) - 2} more' if len(aim.ids) > 2 else ''}" if ids else ""
    for name, verb in VERBS.items():
        if verb.target != "topology":
            off = spelled(why_not(verb, aim, board, screen.cockpit.read_only), screen.cockpit.own_keys)
            yield Entry(f"{name}{'' if off else on}", "verb", partial(_verb, name), _key(screen, name), off)


def _key(screen: ClusterScreen, verb: str) -> str:
    key = key_for(f"verb.{verb}", screen.cockpit.own_keys, screen.keys_of) or ""
    return "" if key.startswith(":") and len(key) > 1 else key


def key_entries(screen: ClusterScreen) -> Iterable[Entry]:
    seen = set()
    for name, binding in screen.live_bindings():
        id = binding.id or ""
        if id in seen or id.startswith(("verb.", "go.", "move.", "side.")) or id in ("palette", "tab.number", "back"):
            continue
        seen.add(id)
        yield Entry(f"{binding.description}: {binding.tooltip}", "key", partial(_press, id), key_name(name))


def mouse_entries(screen: ClusterScreen) -> Iterable[Entry]:
    from screens.mouse import begin_toggle

    now = "take it again" if screen.cockpit.mouse_off else "give it to the terminal, to select text"
    yield Entry(f"mouse: {now}", "key", begin_toggle)


def tab_entries(screen: ClusterScreen) -> Iterable[Entry]:
    tabs = screen.cockpit.tabs
    for number, mode in enumerate(tabs.order):
        if number != tabs.at:
            yield Entry(tabs.title(mode), "tab", partial(_tab, number), f"tab {number + 1}")


async def _tab(number: int, screen: ClusterScreen) -> None:
    await screen.cockpit.tabs.show(number)


def bookmark_entries(screen: ClusterScreen) -> Iterable[Entry]:
    for address in reversed(screen.cockpit.memory.bookmarks):
        yield Entry(address, "bookmark", partial(_open, address))


def own_entries(screen: ClusterScreen) -> Iterable[Entry]:
    """Aliases and workspaces of shortcuts.toml, with their key."""
    line = screen.cockpit.line
    keys = {text: key_name(key) for key, text in line.own.keys.items()}
    for word in line.own.words():
        yield Entry(word, "yours", partial(_line, word), keys.get(word) or line.own.about(word).removeprefix("yours"))


async def _line(text: str, screen: ClusterScreen) -> None:
    await screen.cockpit.line.carry_out(screen, text)


def line_entries(screen: ClusterScreen) -> Iterable[Entry]:
    """Addresses typed before, the latest first; what was typed with a verb is not done again by finding it."""
    kept = screen.cockpit.memory
    for line in reversed(kept.lines[-50:]):
        if line.partition(" ")[0] in PLACES and " " in line and line not in kept.bookmarks:
            yield Entry(line, "typed", partial(_open, line))


def service_entries(screen: ClusterScreen) -> Iterable[Entry]:
    board = screen.board
    for path, row in board.nodes.items():
        yield Entry(board.short(path), row.kind, partial(_goto, ("instances", path)), row.mark)


def action_entries(screen: ClusterScreen) -> Iterable[Entry]:
    for id, row in screen.board.actions.items():
        yield Entry(f"{id} {row.title or row.verb}", "action", partial(_goto, ("action", id)), row.state)


SOURCES: list[str] = [
    "screens.palette:verb_entries",
    "screens.palette:screen_entries",
    "screens.palette:tab_entries",
    "screens.palette:bookmark_entries",
    "screens.palette:own_entries",
    "screens.watch:entries",
    "screens.palette:line_entries",
    "screens.palette:service_entries",
    "screens.palette:key_entries",
    "screens.palette:mouse_entries",
    "screens.palette:action_entries",
]


def entries_of(source: str, screen: ClusterScreen) -> list[Entry]:
    module, _, name = source.partition(":")
    return list(getattr(import_module(module), name)(screen))


class PaletteScreen(AskScreen):
    """A line to type parts of a name into, and what fits."""

    SHOWN: ClassVar[int] = SHOWN
    YES: ClassVar[str] = "go"
    STEADY: ClassVar[bool] = True

    def __init__(self, origin: ClusterScreen, sources: list[str], title: str, *, large: bool) -> None:
        super().__init__(Question(title=title, label="find:", free=False), _nothing)
        self.origin = origin
        board = origin.board
        self._few = [e for source in sources for e in entries_of(source, origin)]
        self._names = [(e.name, WEIGHT.get(e.kind, 1.0) * (0.8 if e.off else 1.0)) for e in self._few]
        self._pools: list[tuple[str, Pool]] = []
        if large:
            self._pools = [("instance", Pool(list(board.instances))), ("host", Pool(list(board.hosts)))]
        self._asked: str | None = None
        self._found: list[Entry] = []
        self._options: list[Option] = []

    def search(self, query: str) -> list[Entry]:
        """What fits, the best first; without a query, what was given, in its order."""
        if not query.strip():
            return [e for e in self._few if not e.off][:MOST]
        few = [self._few[n] for n in best(query, self._names, MOST)]
        board = self.origin.board
        many: list[Entry] = []
        for kind, pool in self._pools:
            for id in sorted(pool.holding(query), key=lambda i: (len(i), i)):
                row = board.instances.get(id) if kind == "instance" else board.hosts.get(id)
                if row is not None:
                    name = board.short(id)
                    where = "node" if kind == "instance" else "host"
                    many.append(Entry(name, kind, partial(_goto, (where, id)), row.mark))
        both = [*few, *many]
        ranked = best(query, ((e.name, WEIGHT.get(e.kind, 1.0) * (0.8 if e.off else 1.0)) for e in both), MOST)
        return [both[n] for n in ranked]

    def matching(self) -> list[Option]:
        assert self.field is not None
        if self._asked != self.field.text:
            self._asked = self.field.text
            self._found = self.search(self._asked)
            self._options = [self._option(n, e) for n, e in enumerate(self._found)]
        return self._options

    def _option(self, number: int, entry: Entry) -> Option:
        room = min(72, int(self.app.size.width * 0.96)) - 6
        note = entry.off or entry.note
        tail = cut(note, max(10, room - 9 - min(cells(entry.name), room // 2) - 3), self.look.sign("more"))
        head = room - 9 - cells(tail) - 2
        name = fit(entry.name, head, self.look.sign("more"))
        return Option(str(number), f"{fit(entry.kind, 9)}{name}  {tail}", bool(entry.off))

    async def send(self) -> None:
        found = self.matching()
        if not 0 <= self.chosen < len(found):
            self.wrong = "Nothing fits; Esc closes."
            self.show()
            return
        entry = self._found[self.chosen]
        await self.app.pop_screen()
        if entry.off:
            self.origin.say(entry.off)
        else:
            await entry.run(self.origin)


async def _nothing(value: str) -> None:
    """The palette carries its entries out itself."""


async def begin(screen: ClusterScreen) -> None:
    await screen.app.push_screen(PaletteScreen(screen, SOURCES, "Go to, or do", large=True))


async def begin_bookmarks(screen: ClusterScreen) -> None:
    if not screen.cockpit.memory.bookmarks:
        screen.say(f"Nothing is kept yet; {screen.key_of('bookmark')} keeps the address of a view.", "paused")
        return
    await screen.app.push_screen(
        PaletteScreen(screen, ["screens.palette:bookmark_entries"], "Bookmarks", large=False)
    )


async def begin_bookmark(screen: ClusterScreen) -> None:
    app = screen.cockpit
    address = app.address_of(screen)
    if address.partition(" ")[0] not in PLACES.keys() - UNKEPT:
        screen.say("This view has no address of its own.", "paused")
        return
    kept = app.memory.bookmark(address)
    if kept:
        screen.say(f"Kept: {address} ({screen.key_of('bookmarks')} lists what is kept)", "ok")
    else:
        screen.say(f"Not kept any longer: {address}", "paused")
    app.show_complaints()
