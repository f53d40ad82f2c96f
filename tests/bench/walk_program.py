"""Run by the bench on a terminal: every screen and key of the cockpit on a controller of many instances.

    python -m tests.bench.walk_program SOCKET OUT [STEP ...]     writes what it measured as JSON to OUT and ends

A step is what is pressed from the overview on, measured key by key. For each: milliseconds of CPU of the loop until
nothing more happens, and of the longest piece of it: one callback, for which a key that comes meanwhile waits.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from screens.app import CockpitApp  # isort: skip  (before Textual)

from textual.events import Key

from cockpit.session.client import RemoteSession
from screens import opening
from screens.base import ClusterScreen
from tests.bench.pieces import Pieces

QUIET = 0.35
"""Seconds without a piece of CALM milliseconds: what the key began is done."""
LONGEST = 20.0
ROUNDS = 3
LIST = "j pagedown end home o o o o O w space escape ! !"
STEPS: dict[str, str] = {
    "overview": "j pagedown end home left right o O w ! ! tab j tab space escape",
    "overview, filter": "/ t:s t:h t:o t:p backspace escape / t:s t:7 t:/ t:1 enter escape",
    "overview, marks": "/ t:d t:r t:i t:f t:t enter escape",
    "instances": f"i {LIST} / t:7 t:7 enter escape C escape enter escape e escape L escape l escape escape",
    "a service": "p:instances:s9 j o o escape",
    "hosts": f"h {LIST} / t:7 t:7 enter escape enter escape e escape escape",
    "naming": f"n {LIST} / t:7 enter escape tab j o tab j o escape",
    "graph": "g down down z plus z f f H H H H full_stop comma tab j tab / t:s t:9 enter escape escape",
    "matrix": "M down pagedown end home right > < w ! ! ! / t:7 t:7 escape enter escape escape",
    "regions": "p:regions j o enter escape escape",
    "relays": "p:relays j o enter escape p:graph:relays j escape",
    "explain": "p:explain j pagedown end home enter escape escape p:advice j enter escape escape",
    "life": "p:life j pagedown end home escape J j end home V escape",
    "revisions": "v j enter escape = escape escape a j escape N j end escape b j escape B escape",
    "help": "question_mark j pagedown end / t:s t:o escape escape semicolon escape",
    "palette": "ctrl+p t:s t:7 t:1 t:2 t:3 down escape",
    "command": ": t:i t:n t:s t:t tab t:space t:s t:3 tab t:/ t:7 escape",
    "command, logs": ": t:l t:o t:g t:s t:space t:s t:1 tab escape",
    "jump": "apostrophe escape i apostrophe escape escape",
    "tabs": "ctrl+t i [ ] [ ] ctrl+w",
    "watch and copy": "j j j Y Y y escape i y escape escape",
    "restart": "i r escape escape j j r escape",
    "verbs": "j j d escape i m escape escape j j s escape i K escape escape c escape h D escape escape",
    "logs": "j j l escape",
    "looks": 'p:theme:light p:theme:dark ctrl+l i * " escape * escape',
    "sticky": "i / t:s t:3 t:1 enter F h escape F escape i space space space z z escape escape",
    "lost and found": "x:lost",
    "at rest": "x:rest",
}


class Walk(CockpitApp):
    def __init__(self, session: RemoteSession, out: Path, only: tuple[str, ...]) -> None:
        super().__init__(session, theme="dark", ascii=False, address="overview")
        self.out, self.only = out, only
        self.found: list[dict[str, Any]] = []
        self.measuring: asyncio.Task[None] | None = None

    def on_ready(self) -> None:
        super().on_ready()
        self.measuring = asyncio.create_task(self.measure())
        self.measuring.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.out.with_suffix(".error").write_text(repr(error))
        self.exit()

    async def quiet(self, least: float = QUIET) -> None:
        start = time.monotonic()
        while time.monotonic() < start + LONGEST:
            await asyncio.sleep(0.02)
            now = time.monotonic()
            screen = self.screen
            waits = isinstance(screen, ClusterScreen) and bool(screen._waits)
            if now > max(start, self.pieces.last) + least and not waits:
                return

    async def press(self, key: str) -> None:
        kind, _, rest = key.partition(":")
        if len(key) > 1 and kind == "p":
            await self.goto(tuple(rest.split(":")))
        elif len(key) > 1 and kind == "t":
            self.post_message(Key("space", " ") if rest == "space" else Key(rest, rest))
        elif key == "x:rest":
            await asyncio.sleep(5)
        elif key == "x:lost":
            self.session._writer.close()  # type: ignore[attr-defined]
            await asyncio.sleep(3)
        else:
            self.simulate_key(ALIASES.get(key, key))

    async def measure(self) -> None:
        while self.board.head is None or not self.board.instances or self._preload.left:
            await asyncio.sleep(0.01)
        self.pieces = Pieces()
        await self.quiet(2.0)
        for name, step in STEPS.items():
            if self.only and not any(name.startswith(o) for o in self.only):
                continue
            for round_ in range(ROUNDS):
                for number, key in enumerate(step.split()):
                    self.pieces.reset()
                    where = type(self.screen).__name__
                    cpu = time.process_time()
                    await self.press(key)
                    await self.quiet()
                    p = self.pieces
                    self.found.append({
                        "step": name, "number": number, "key": key, "round": round_, "screen": where,
                        "then": type(self.screen).__name__, "cpu": p.total, "piece": p.piece, "what": p.what,
                        "gc": p.gc, "process": (time.process_time() - cpu) * 1e3,
                    })  # fmt: skip
                    self.out.write_text(json.dumps(self.found))
                for _ in range(6):
                    if self.deep:
                        self.simulate_key("escape")
                        await self.quiet(0.15)
                while self.deep:
                    await self.pop_screen()
                self.simulate_key("home")
                await self.quiet()


ALIASES = {
    "/": "slash", ":": "colon", "[": "left_square_bracket", "]": "right_square_bracket", "!": "exclamation_mark",
    ">": "greater_than_sign", "<": "less_than_sign", "=": "equals_sign", "*": "asterisk", '"': "quotation_mark",
}  # fmt: skip


async def main() -> None:
    session = RemoteSession(Path(sys.argv[1]))
    await session.connect()
    app = Walk(session, Path(sys.argv[2]), tuple(sys.argv[3:]))
    opening.rest()  # as `cockpit attach` does
    await app.ask_first()
    await app.run_async()


if __name__ == "__main__":
    asyncio.run(main())
