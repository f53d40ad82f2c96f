"""The demo: the sample cluster on this machine, from nothing, and gone again at its end."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from cockpit.agent.files import make_dir
from cockpit.controller.core import Controller
from cockpit.controller.serving import Options, controller, either, here, on_signals, shown
from cockpit.model.load import load_text
from cockpit.model.view import Snapshot

START_LIMIT = 90.0


class Demo:
    """`state` None: a temporary directory that is removed at the end."""

    def __init__(self, state: Path | None) -> None:
        self._temporary = Path(tempfile.mkdtemp(prefix="cockpit-demo-")) if state is None else None
        self.state = state or Path(str(self._temporary)) / "state"

    def clean(self) -> None:
        """Remove the temporary directory; a given one is kept."""
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    async def serve(self, say: Callable[[str], None]) -> int:
        """Run without a screen until a signal; then end every process of the demo."""
        stop = asyncio.Event()
        async with self._running(say) as c:
            on_signals(stop)
            say(f"demo is starting: cockpit status --state {self.state}")
            if await self._settled(c, stop):
                say("demo is up")
            await either(stop, c.ended)
            if c.lost:
                say(c.why)
        return 1 if c.lost else 0

    async def with_screen(
        self, screen: Callable[[Any], Awaitable[int]], say: Callable[[str], None]
    ) -> int:
        """Open the cockpit at once; end everything when it closes."""
        async with self._running(say) as c:
            code = await shown(c, screen)
            say("ending the demo")
        return code

    async def once(self, show: Callable[[Snapshot], None], say: Callable[[str], None]) -> int:
        """Without a terminal: start, print the overview, end. Exit 1 when it did not come up."""
        stop = asyncio.Event()
        async with self._running(say) as c:
            on_signals(stop)
            up = await self._settled(c, stop)
            show(await c.session(here()).snapshot())
        return 0 if up else 1

    def _running(self, say: Callable[[str], None]) -> contextlib.AbstractAsyncContextManager[Controller]:
        @contextlib.asynccontextmanager
        async def run() -> Any:
            text = sample()
            loaded = load_text(text.encode(), "sample_topology.yaml")
            make_dir(str(self.state), 0o710)
            await asyncio.to_thread(self._artifacts)
            options = Options(state=self.state, file="sample_topology.yaml", text=text)
            async with controller(options, loaded.expected) as c:
                try:
                    yield c
                finally:
                    if not c.lost:
                        await c.end_hosts()

        return run()

    def _artifacts(self) -> None:
        from cockpit.artifacts.opening import open_store
        from cockpit.sample.build import build

        with tempfile.TemporaryDirectory(prefix="cockpit-build-") as work:
            build(open_store(self.state), Path(work))

    async def _settled(self, c: Controller, stop: asyncio.Event) -> bool:
        """Wait until every instance is right (or a signal came)."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_LIMIT):
                while not stop.is_set():
                    rows = c.board.tables["instances"].values()
                    if rows and all(r.mark == "ok" for r in rows) and not c.runner.running:
                        return True
                    await asyncio.sleep(0.05)
        return False


def sample() -> str:
    """The sample topology: shipped in the package, and at the top of the source tree."""
    return (Path(__file__).parents[1] / "sample" / "topology.yaml").read_text(encoding="utf-8")
