"""One host, from the first look to the agent that its controller sees. Every step may be interrupted and repeated."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cockpit.bootstrap import scripts, steps, texts
from cockpit.bootstrap.bundles import ONE, Bundle, NoBundle
from cockpit.bootstrap.entering import Done, Far
from cockpit.bootstrap.found import Found, Unclear, parse
from cockpit.bootstrap.steps import Plan, Refused, Step, Wish
from cockpit.inventory.ssh import NoEntry

UPLOAD = 600.0
UNPACK = 60.0
JOIN = 60.0
UP = 60.0
"""Seconds until the controller must see the host."""
LOOK = 0.25

NEW, THERE, FAILED, REFUSED = "installed", "was there", "failed", "refused"


class Side(Protocol):
    """What bootstrap needs of the controller."""

    async def token(self, host: str) -> tuple[str, str]:
        """(one-time token, URL of the controller as that host reaches it)."""
        ...

    async def uuid(self, host: str) -> str:
        """Of its agent, as it is believed now; empty: none."""
        ...

    async def switch(self, host: str) -> str:
        """`connection: agent` in the topology, one revision; the sentence for the operator."""
        ...

    async def up(self, host: str) -> str:
        """Version of the agent that the controller sees up there; empty: none."""
        ...


@dataclass(frozen=True)
class Outcome:
    host: str
    word: str
    text: str
    done: tuple[str, ...] = ()


class Stuck(Exception):
    """A step did not work; the sentence says which, why, and what helps."""


Say = Callable[[str], None]


async def bootstrap(
    far: Far,
    wish: Wish,
    side: Side,
    offered: Sequence[Bundle],
    say: Say,
    *,
    directory: str = "",
    gateway: str = "",
    up: float = UP,
) -> Outcome:
    """Never raises for what goes wrong on the host: the outcome says it."""
    done: list[str] = []
    try:
        found = await look(far, wish, directory, gateway)
        say(found.sentence())
        plan = steps.plan(found, wish, offered)
        for note in plan.notes:
            say(note)
        for step in plan.steps:
            say(f"{_VERBS[step.word]} {step.text}")
            await _carry_out(far, step, plan, wish, side, found, say)
            done.append(step.word)
        if not plan.steps and (version := await side.up(wish.host)):
            return Outcome(wish.host, THERE, f"agent {version} is up; nothing was changed", ())
        version = await _seen(side, wish.host, up)
        if not version:
            why = await far.run(scripts.WHY, found.directory)
            raise Stuck(f"it was started, but the controller does not see it after {up:g} s: {why.said()}")
        word = NEW if plan.steps else THERE
        return Outcome(wish.host, word, f"agent {version} is up", tuple(done))
    except (Refused, NoBundle, texts.NotPlain) as e:
        return Outcome(wish.host, REFUSED, str(e), tuple(done))
    except (Stuck, NoEntry, Unclear) as e:
        return Outcome(wish.host, FAILED, str(e), tuple(done))


async def look(far: Far, wish: Wish, directory: str, gateway: str) -> Found:
    """Raises NoEntry, Unclear, Refused."""
    who = await far.run("id -u")
    if who.code != 0:
        raise Refused(f"no POSIX shell answers there: {who.said()}")
    places = steps.candidates(wish, who.out.strip() == "0", gateway)
    answer = await far.run(scripts.LOOK, directory, wish.host, *places)
    return parse(answer.out)


_VERBS = {
    "upload": "brings", "join": "joins", "switch": "switches to", "unit": "writes", "enable": "starts",
    "start": "starts", "restart": "restarts", "cron": "adds",
}  # fmt: skip


async def _carry_out(far: Far, step: Step, plan: Plan, wish: Wish, side: Side, found: Found, say: Say) -> None:
    """Raises Stuck, NoEntry."""
    work: dict[str, Callable[[], Awaitable[None]]] = {
        "upload": lambda: _upload(far, plan, found, say),
        "join": lambda: _join(far, plan, wish, side, found),
        "switch": lambda: _switch(side, wish, say),
        "restart": lambda: _restart(far, step),
        "unit": lambda: _unit(far, step),
        "enable": lambda: _enable(far, step),
        "start": lambda: _start(far, plan, found),
        "cron": lambda: _cron(far, step),
    }
    await work[step.word]()


async def _upload(far: Far, plan: Plan, found: Found, say: Say) -> None:
    bundle = plan.bundle
    assert bundle is not None
    args = (found.directory, bundle.digest, bundle.sum, bundle.name)
    await _must("the upload", far.run(scripts.UPLOAD, *args, stdin=bundle.data, timeout=UPLOAD))
    await _must("its link", far.run(scripts.POINT, found.directory, bundle.digest))
    # unpacks itself, and shows that it runs here at all
    argv = [*plan.program, "--where"]
    done = await _must(f"{bundle.name} on this host", far.run(scripts.RUN, plan.unpack, *argv, timeout=UNPACK))
    try:
        version = str(json.loads(done.out)["version"])
    except (ValueError, KeyError, TypeError):
        raise Stuck(f"{bundle.name} runs there, but says nothing that is understood: {done.said()}") from None
    kind = "one file" if bundle.name == ONE else f"zipapp with {plan.program[0]}"
    say(f"verified there: agent {version}, {kind}")


async def _join(far: Far, plan: Plan, wish: Wish, side: Side, found: Found) -> None:
    token, url = await side.token(wish.host)
    argv = [*plan.program, "join", "--dir", found.directory, "--controller", url, "--host", wish.host, "-"]
    done = await far.run(scripts.RUN, plan.unpack, *argv, stdin=token.encode() + b"\n", timeout=JOIN)
    if done.code != 0:
        hint = ""
        if "no answer from" in done.err:
            hint = f"; it has to reach {url}, or be given a way: `ssh: {{listen: PORT}}` in the topology"
        raise Stuck(f"it could not join: {done.said().removeprefix('cockpit-agent: ')}{hint}")


async def _switch(side: Side, wish: Wish, say: Say) -> None:
    try:
        say(await side.switch(wish.host))
    except (ConnectionError, TimeoutError, ValueError) as e:
        raise Stuck(f"the topology could not be changed: {e}") from None


async def _restart(far: Far, step: Step) -> None:
    """Whoever keeps it starts it again."""
    await _must("its restart", far.run(scripts.TERM, *(str(pid) for pid in step.more["pids"])))


async def _unit(far: Far, step: Step) -> None:
    await _must("its unit", far.run(scripts.INSTALL_UNITS, step.more["name"], stdin=step.more["content"].encode()))
    await _must("systemctl daemon-reload", far.run(scripts.SYSTEMCTL, "daemon-reload"))


async def _enable(far: Far, step: Step) -> None:
    name = step.more["name"]
    await _must(f"systemctl enable {name}", far.run(scripts.SYSTEMCTL, "enable", "--quiet", name))
    how = ["--no-block"] if name == texts.AGENT else []  # whether it came up says the controller
    await _must(f"systemctl start {name}", far.run(scripts.SYSTEMCTL, "start", *how, name))


async def _start(far: Far, plan: Plan, found: Found) -> None:
    argv = [*plan.program, "run", "--dir", found.directory]
    await _must("its start", far.run(scripts.DETACH, plan.unpack, found.directory, *argv))


async def _cron(far: Far, step: Step) -> None:
    before = await _must("its crontab", far.run(scripts.CRON_READ))
    after = texts.crontab(before.out, step.more["line"])
    await _must("its crontab", far.run(scripts.CRON_WRITE, stdin=after.encode()))


async def _must(what: str, work: Awaitable[Done]) -> Done:
    done = await work
    if done.code != 0:
        raise Stuck(f"{what}: {done.said()}")
    return done


async def _seen(side: Side, host: str, limit: float) -> str:
    until = asyncio.get_running_loop().time() + limit
    while not (version := await side.up(host)) and asyncio.get_running_loop().time() < until:
        await asyncio.sleep(LOOK)
    return version
