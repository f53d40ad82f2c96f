"""Take pictures of the screens on a running controller, as SVG: the README's are made with it.

    python tools/picture.py --state DIR --size 120x32 --out docs/overview.svg [KEY ...]
"""

from __future__ import annotations

import argparse
import asyncio
import re
from pathlib import Path

from cockpit.session.client import RemoteSession
from screens.app import CockpitApp

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
        out.write_text(standalone(app.export_screenshot(title="cockpit")), encoding="utf-8")
    await session.close()


def standalone(svg: str) -> str:
    """Without fonts from elsewhere, and with its spaces kept by every viewer."""
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code", "DejaVu Sans Mono")
    return svg.replace("<svg ", '<svg xml:space="preserve" ', 1)


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
