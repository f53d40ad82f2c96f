"""Take pictures of the screens on a running controller, as SVG: the README's are made with it.

    python tools/picture.py --state DIR --size 120x32 --out overview.svg [KEY ...]

`cockpit snapshot VIEW -o FILE.svg` does without keys.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from cockpit.session.client import RemoteSession
from screens.app import CockpitApp
from screens.portrait import svg

SETTLE = 0.4
"""Seconds for data to arrive after each key."""


async def picture(state: Path, size: tuple[int, int], keys: list[str], out: Path, theme: str | None) -> None:
    """Open the cockpit without a terminal, press the keys, write what it shows."""
    session = RemoteSession(state / "control.sock")
    await session.connect()
    app = CockpitApp(session, ascii=False, theme=theme)
    async with app.run_test(size=size) as pilot:
        await pilot.pause(1.0)
        for key in keys:
            await pilot.press(key)
            await pilot.pause(SETTLE)
        out.write_text(svg(app, "cockpit"), encoding="utf-8")
    await session.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--size", default="120x32")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--theme", default=None)
    parser.add_argument("keys", nargs="*")
    args = parser.parse_args()
    width, height = (int(n) for n in args.size.split("x"))
    asyncio.run(picture(args.state, (width, height), args.keys, args.out, args.theme))


if __name__ == "__main__":
    main()
