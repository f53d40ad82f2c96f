"""A headless Chromium, driven over its own protocol."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from tests.helpers import PATIENCE, until

FOUND = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), "")


class Page:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.requests: list[str] = []
        self.console: list[str] = []
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            data = json.loads(message.data)
            if data.get("id") in self._answers:
                self._answers.pop(data["id"]).set_result(data)
            elif data.get("method") == "Network.requestWillBeSent":
                self.requests.append(data["params"]["request"]["url"])
            elif data.get("method") == "Log.entryAdded":
                self.console.append(data["params"]["entry"]["text"])

    async def do(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_str(json.dumps({"id": number, "method": method, "params": params}))
        answer = await asyncio.wait_for(self._answers[number], PATIENCE)
        assert "error" not in answer, answer
        return answer["result"]

    async def js(self, code: str) -> Any:
        found = await self.do("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        return found["result"].get("value")

    async def open(self, url: str) -> None:
        await self.do("Page.navigate", url=url)

    async def text(self) -> str:
        return str(await self.js("document.body ? document.body.innerText : ''"))

    async def sees(self, words: str) -> None:
        async def there() -> bool:
            return words in await self.text()

        try:
            await until(there)
        except AssertionError:
            said = await self.text()
            raise AssertionError(f"{words!r} never came; the page says:\n{said}\n{self.console}") from None

    async def press(self, key: str, code: int = 0) -> None:
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            extra = text if kind == "keyDown" else {}
            await self.do("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **extra)


@contextlib.asynccontextmanager
async def browser(home: Path) -> AsyncIterator[Page]:
    """One tab of a browser with a profile in `home`."""
    process = await asyncio.create_subprocess_exec(
        FOUND, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--no-default-browser-check", "--no-zygote",
        "--window-size=1280,800", "--remote-debugging-port=0", f"--user-data-dir={home}", "about:blank",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        known = home / "DevToolsActivePort"
        await until(lambda: known.exists() and known.read_text().count("\n") >= 1, what="the browser's port")
        port = known.read_text().split()[0]
        async with aiohttp.ClientSession() as http:
            async def tab() -> str:
                async with http.get(f"http://127.0.0.1:{port}/json") as answer:
                    pages = [t for t in await answer.json() if t["type"] == "page"]
                return pages[0]["webSocketDebuggerUrl"] if pages else ""

            async with http.ws_connect(await until(tab, what="a tab"), max_msg_size=0) as socket:
                page = Page(socket)
                for domain in ("Page", "Runtime", "Network", "Log"):
                    await page.do(f"{domain}.enable")
                yield page
                await page.do("Browser.close")
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), PATIENCE)
        if process.returncode is None:
            process.kill()
            await process.wait()
