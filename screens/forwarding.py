"""`f`: ports of instances on the operator's machine, kept in the background of the screens until these end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from cockpit.plan.steps import Bad, Refused
from screens.aim import INSTANCE, Aim
from screens.ask import AskScreen, Option, Question
from screens.direct import agree
from screens.format import plural
from screens.look import Look
from screens.widgets.bars import Part

if TYPE_CHECKING:
    from cockpit.session.forwarding import Forward
    from screens.app import CockpitApp
    from screens.base import ClusterScreen

MOST = 20
BEGINNING, OPEN, LOST, ENDED = "beginning", "open", "lost", "ended"
MARKS = {BEGINNING: "changing", OPEN: "ok", LOST: "unknown"}
"""State -> look; the ended ones are absent."""


class ForwardRow(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    state: str
    local: int
    """0: it has not begun."""
    instance: str
    port: str
    host: str = ""
    open: int = 0
    """Connections now."""
    connections: int = 0
    """Since it began."""
    sent: int = 0
    received: int = 0
    since: float = 0.0
    why: str = ""

    @property
    def mark(self) -> str:
        return MARKS.get(self.state, "absent")


class Forwards:
    """Those of this run of the screens."""

    def __init__(self, app: CockpitApp) -> None:
        self._app = app
        self._kept: dict[str, Forward] = {}
        self._asked: dict[str, str] = {}
        """Id -> port as it was asked for."""
        self._number = 0

    def rows(self) -> dict[str, ForwardRow]:
        return {id: self._row(id, forward) for id, forward in self._kept.items()}

    def _row(self, id: str, f: Forward) -> ForwardRow:
        port = str(f.port or self._asked[id])
        return ForwardRow(
            id=id, state=f.state, local=f.local, instance=f.instance, port=port, host=f.host, open=f.open,
            connections=f.connections, sent=f.sent, received=f.received, since=f.since, why=f.why,
        )  # fmt: skip

    def running(self) -> list[Forward]:
        return [f for f in self._kept.values() if f.state != ENDED]

    def parts(self, look: Look) -> list[Part]:
        """What the top line says of them."""
        running = self.running()
        if not running:
            return []
        mark = "unknown" if any(f.state == LOST for f in running) else "ok"
        words = f"{look.glyph(mark)} {plural(len(running), 'forward')}"
        return [Part(2, ((words, f"top_{mark}"), ("  ", "top")), "go:forwards")]

    def start(self, request: dict[str, Any], local: int | None) -> None:
        self._app.run_worker(self._run(request, local), name="forward")

    async def _run(self, request: dict[str, Any], local: int | None) -> None:
        from cockpit.session.forwarding import Forward

        app = self._app
        self._number += 1
        id, forward = f"f{self._number}", Forward(app.session, request, app.tell)
        self._kept[id], self._asked[id] = forward, str(request.get("port") or "")
        self._shown()
        try:
            await forward.begin(local)
            name = app.board.short(forward.instance)
            app.tell(f"{forward.address} leads to port {forward.port} of {name} on {forward.host}; "
                     ":forwards lists what is forwarded.", "ok")  # fmt: skip
            self._shown()
            await forward.done.wait()
        except (Bad, Refused) as error:
            app.tell(f"forward: {error}", "failed")
            self._kept.pop(id, None)
        except ConnectionError as error:
            app.tell(f"forward: {error or 'no answer from the controller'}.", "unknown")
            self._kept.pop(id, None)
        finally:
            await forward.close()
        self._shown()

    def end(self, id: str) -> str:
        """Ends one, or takes one that has ended off the list. A sentence for the operator; empty: there is none."""
        forward = self._kept.get(id)
        if forward is None:
            return ""
        if forward.state == BEGINNING:
            return "It has not begun yet: what the host says comes within 30 s."
        if forward.state == ENDED:
            del self._kept[id]
            return "Taken off the list."
        forward.done.set()  # its worker ends it
        del self._kept[id]
        count = forward.open
        return f"{forward.address} is closed" + (f"; {plural(count, 'connection')} ended with it." if count else ".")

    def _shown(self) -> None:
        self._app.show_tabs()


def wanted(aim: Aim) -> str:
    """The instance, or a sentence when there is none. Pure."""
    if aim.kind != INSTANCE or not aim:
        return "forward: put the cursor on an instance (<go.instances> lists them); :forwards lists those that run."
    if len(aim.ids) > 1:
        return f"forward: one at a time; {len(aim.ids)} are marked, <back> takes the marks away."
    return ""


def off(screen: ClusterScreen) -> str:
    """Why nothing can be forwarded now; empty when it can."""
    app = screen.cockpit
    if app.read_only:
        return f"forward is off: {app.read_only}"
    if app.travel is not None:
        return "forward is off: this is the past."
    if type(app._driver).__name__ == "WebDriver":
        return "forward: a browser has no ports of its own here; use cockpit forward on your machine."
    if len(app.forwards.running()) >= MOST:
        return f"{MOST} ports are forwarded already; :forwards lists them."
    return ""


class PortScreen(AskScreen):
    """Asks for the port."""

    YES: ClassVar[str] = "forward it"


def question(name: str, ports: Mapping[str, int]) -> Question:
    from cockpit.session.forwarding import wish

    def check(value: str) -> str:
        try:
            _, port = wish(value)
        except Bad as error:
            return str(error)
        return "" if port or len(ports) == 1 else "Which port? A name or a number, or Esc."

    return Question(
        title=f"forward a port of {name}", label="[LOCAL:]PORT",
        about=("It listens on 127.0.0.1 of this machine until the screens end. LOCAL: the port here; without it the "
               "same as there when it is free, and 0 for any.",),
        options=[Option(port, f"{port} {number}") for port, number in sorted(ports.items())], check=check,
    )  # fmt: skip


async def begin(screen: ClusterScreen) -> None:
    """The key."""
    aim = screen.aim()
    if why := off(screen) or wanted(aim):
        screen.say(why)
        return
    await _ask(screen, aim.ids[0])


async def _ask(screen: ClusterScreen, instance: str) -> None:
    row = screen.board.instances.get(instance)

    async def chosen(value: str) -> None:
        screen.call_later(_forward, screen, instance, value)

    ports = row.ports if row is not None else {}
    await screen.app.push_screen(PortScreen(question(screen.board.short(instance), ports), chosen))


async def _forward(screen: ClusterScreen, instance: str, value: str) -> None:
    from cockpit.session.forwarding import wish

    try:
        local, port = wish(value)
    except Bad as error:
        screen.say(str(error))
        return

    async def go(agreed: list[dict[str, Any]]) -> None:
        screen.cockpit.forwards.start(agreed[0], local)

    await agree(screen, "forward", [{"instance": instance, "port": port}], go)


async def go(app: CockpitApp, words: str) -> None:
    """`:forward [INSTANCE] [[LOCAL:]PORT]`."""
    from screens.base import ClusterScreen

    screen = app.screen
    if not isinstance(screen, ClusterScreen):
        return
    given = words.split()
    name = app.board.full(given[0]) if given else ""
    if why := off(screen):
        screen.say(why)
    elif name in app.board.instances and len(given) == 1:
        await _ask(screen, name)
    elif name in app.board.instances:
        for value in given[1:]:
            await _forward(screen, name, value)
    elif len(given) > 1 or given and wanted(screen.aim()):
        screen.say(f"forward: no instance {given[0]!r}; it is :forward INSTANCE [LOCAL:]PORT")
    elif given:
        await _forward(screen, screen.aim().ids[0], given[0])
    else:
        await begin(screen)
