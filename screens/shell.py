"""`S`: a shell on the host, or in the release of the instance, under the cursor. The screen steps aside for it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from cockpit.plan.steps import Bad, Refused
from cockpit.session.passage import End, Ends, Way, opened, write
from screens.aim import HOST, INSTANCE, Aim
from screens.direct import agree

if TYPE_CHECKING:
    from screens.base import ClusterScreen


def wanted(aim: Aim) -> dict[str, str] | str:
    """{"host"} or {"instance"}; a sentence when there is neither. Pure."""
    if aim.kind not in (HOST, INSTANCE) or not aim:
        return (
            "shell: put the cursor on a host or an instance "
            "(<go.hosts> lists the hosts, <go.instances> the instances)."
        )
    if len(aim.ids) > 1:
        return f"shell: one at a time; {len(aim.ids)} are marked, <back> takes the marks away."
    return {aim.kind: aim.ids[0]}


async def begin(screen: ClusterScreen) -> None:
    app = screen.cockpit
    if app.read_only:
        screen.say(f"shell is off: {app.read_only}")
        return
    request = wanted(screen.aim())
    if isinstance(request, str):
        screen.say(request)
        return
    if app._driver is None or not app._driver.can_suspend:
        screen.say("shell: this screen has no terminal of its own (a browser, a recording): use cockpit shell there.")
        return

    async def go(agreed: list[dict[str, Any]]) -> None:
        await _open(screen, agreed[0])

    await agree(screen, "shell", [request], go)


async def _open(screen: ClusterScreen, request: dict[str, Any]) -> None:
    app = screen.cockpit
    try:
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as e:
        screen.say(f"shell: there is no terminal here ({e.strerror}).", "failed")
        return
    name = screen.board.short(request.get(INSTANCE) or request[HOST])
    try:
        with screen.waiting(f"opening a shell: {name}"):
            passage = opened(app.session, request, Ends(fd, fd, fd, terminal=True))
            way = await passage.__aenter__()
        end = End(why="left")
        try:
            end = await _aside(screen, way)
        finally:
            await passage.__aexit__(None, None, None)
        mark = "failed" if end.why not in ("", "left") else "paused" if end.why or end.code else "ok"
        screen.say(f"shell {name} {end.words(way.begun.host)}.", mark)
    except (Bad, Refused) as error:
        screen.say(str(error), "failed")
    except ConnectionError as error:
        screen.say(f"shell: {error or 'no answer from the controller'}.", "unknown")
    finally:
        os.close(fd)


async def _aside(screen: ClusterScreen, way: Way) -> End:
    """The terminal is the shell's until its end; then every line of the screen is drawn anew."""
    app, trouble = screen.cockpit, None
    end = End(why="left")
    app.away = True
    try:
        with app.batch_update(), app.suspend():  # nothing is painted meanwhile, whatever the cluster does
            try:
                await write(way.ends.shown, way.begun.head().encode())
                end = await way.run()
            except (Exception, asyncio.CancelledError) as e:  # the screen must have its terminal back first
                trouble = e
    finally:
        app.away = False
    if isinstance(trouble, (OSError, asyncio.CancelledError)) and not isinstance(trouble, ConnectionError):
        if isinstance(trouble, asyncio.CancelledError):
            raise trouble
        return End(why=f"the terminal: {trouble.strerror or trouble}")
    if trouble is not None:
        raise trouble
    return end
