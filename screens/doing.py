"""Lines behind `:` that open no screen but do something with the one that is seen. Imported when they are typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from screens.base import ClusterScreen
from screens.comfort import WORDS

if TYPE_CHECKING:
    from screens.app import CockpitApp


async def do(app: CockpitApp, name: str, rest: tuple[str, ...], filter: str) -> bool:
    """False: it is none of these."""
    text = " ".join((*rest, filter)).strip()
    match name:
        case "quit":
            app.leave()
        case "past":
            from screens import past

            await past.go(app, rest)
        case "columns":
            from screens import owncolumns

            if isinstance(app.screen, ClusterScreen):
                await owncolumns.change(app.screen, text.split())
        case "page" | "save":
            from screens import paging

            await paging.go(app, name, text)
        case "cp":
            from screens import transfer

            await transfer.go(app, text)
        case "forward":
            from screens import forwarding

            await forwarding.go(app, text)
        case _ if name in WORDS:
            app.comfort.go(name, (*rest, *filter.split()))
        case _:
            return False
    return True
