"""`U`: actions that operators define themselves (actions.toml), for what is under the cursor or marked."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from textual import events

from cockpit.act.table import CHANGE, DESTRUCTIVE, OBSERVE
from cockpit.model.view import InstanceRow
from cockpit.useractions import template
from cockpit.useractions.config import Input, Loaded, UserAction, load
from cockpit.useractions.run import Job
from screens import browser, userkeys
from screens.aim import HOST, INSTANCE, NODE, Aim
from screens.ask import AskScreen, ConfirmScreen, Option, Question
from screens.board import Board
from screens.format import fit, plural

if TYPE_CHECKING:
    from screens.base import ClusterScreen

MOST = 1000
"""Things that one action is run for at most."""
RISKS = (OBSERVE, CHANGE, DESTRUCTIVE)
Thing = dict[str, str]


def things(kind: str, aim: Aim, board: Board) -> list[Thing]:
    """What a selection is to an action for this kind: fields by name. Empty where it does not fit."""
    if kind == HOST:
        hosts = aim.ids if aim.kind == HOST else ()
        if aim.kind == INSTANCE:
            hosts = tuple(dict.fromkeys(board.instances[i].host for i in aim.ids if i in board.instances))
        return [_host(h, board) for h in hosts if h in board.hosts]
    if kind == "service":
        paths: Sequence[str] = aim.ids if aim.kind == NODE else ()
        if aim.kind == INSTANCE:
            paths = list(dict.fromkeys(i.rpartition("/")[0] for i in aim.ids))
        return [
            {"id": p, "service": p, "version": board.nodes[p].version, "cluster": _cluster(board)}
            for p in paths if p in board.nodes and board.nodes[p].kind == "service"
        ]
    ids: Sequence[str] = aim.ids if aim.kind == INSTANCE else ()
    if aim.kind == NODE:
        ids = [i for path in aim.ids for i in board.under(path)]
    elif aim.kind == HOST:
        ids = [i for i, row in board.instances.items() if row.host in aim.ids]
    return [_instance(board.instances[i], board) for i in ids if i in board.instances]


def _cluster(board: Board) -> str:
    return board.head.cluster if board.head is not None else ""


def _host(name: str, board: Board) -> Thing:
    row = board.hosts[name]
    return {
        "id": name, "host": name, "address": row.address, "region": row.region, "state": row.presence,
        "pid": str(row.agent_pid or ""), "version": row.agent_version, "cluster": _cluster(board),
    }


def _instance(row: InstanceRow, board: Board) -> Thing:
    host = board.hosts.get(row.host)
    first = next(iter(row.ports.values()), None)
    return {
        "id": row.id, "service": row.service, "slot": str(row.slot), "host": row.host,
        "version": row.version_actual or row.version_expected, "pid": str(row.pid or ""), "state": row.state,
        "address": row.address or (host.address if host else ""), "region": host.region if host else "",
        "port": str(first) if first is not None else "", "cluster": _cluster(board),
        **{f"port:{name}": str(number) for name, number in row.ports.items()},
    }


def selection(action: UserAction, aim: Aim, board: Board) -> list[Thing]:
    """Of the kinds that the action is for, the one that fits what is selected; the nearest first."""
    mine = {INSTANCE: ("instance", "host", "service"), NODE: ("service", "instance"), HOST: ("host", "instance")}
    for kind in mine.get(aim.kind, ()):
        if kind in action.on and (found := things(kind, aim, board)):
            return found
    return []


def why_not(action: UserAction, aim: Aim, board: Board, read_only: str) -> str:
    """Why it cannot run here now; empty when it can."""
    if read_only and action.risk != OBSERVE:
        return f"{action.name} is off: it is of class {action.risk}, and {read_only}"
    if read_only and action.where == "hosts":
        return f"{action.name} is off: it runs on hosts, and {read_only}"
    if board.lost is not None and (action.where == "hosts" or action.risk != OBSERVE):
        return f"{action.name} needs the controller, and it does not answer"
    found = selection(action, aim, board)
    if not found:
        return f"{action.name} works on {' or '.join(action.on)}; there is none under the cursor"
    return f"{action.name}: {len(found)} are too many; at most {MOST}" if len(found) > MOST else ""


def jobs(action: UserAction, chosen: Sequence[Thing], inputs: dict[str, str]) -> list[Job]:
    """The programs to run. Raises template.Unfilled. On hosts equal ones are one job for many hosts."""
    out: list[Job] = []
    for argv, numbers in template.fill(action.argv, chosen, inputs):
        mine = [chosen[n] for n in numbers]
        label = mine[0]["id"] if len(mine) == 1 else plural(len(mine), action.on[0])
        hosts: tuple[str, ...] = ()
        if action.where == "hosts":
            hosts = tuple(dict.fromkeys(t["host"] for t in mine if t.get("host")))
            if not hosts:
                raise template.Unfilled(f"{label} is on no host: {action.name} runs on hosts")
        out.append(Job(label=label, argv=argv, hosts=hosts))
    if action.where != "hosts":
        return out
    merged: dict[tuple[str, ...], Job] = {}
    for job in out:
        if (first := merged.get(job.argv)) is not None:
            merged[job.argv] = Job(
                label=plural(len({*first.hosts, *job.hosts}), "host"), argv=job.argv,
                hosts=tuple(dict.fromkeys((*first.hosts, *job.hosts))),
            )
        else:
            merged[job.argv] = job
    return list(merged.values())


def spelled(job: Job) -> str:
    """The command that does the same in a shell."""
    if job.hosts:
        return shlex.join(["cockpit", "exec", *(w for h in job.hosts for w in ("--on", h)), "--", *job.argv])
    return shlex.join(job.argv)


class MenuScreen(AskScreen):
    """One of a list; a key of its own chooses at once."""

    goes_on = False

    def __init__(
        self, question: Question, done: Callable[[str], Awaitable[None]], keys: dict[str, str] | None = None
    ) -> None:
        super().__init__(question, done)
        self.keys = keys or {}
        """Key -> what it chooses."""

    async def take_key(self, event: events.Key) -> bool:
        assert self.field is not None
        name = event.character if event.character and event.character in self.keys else event.key
        if name in self.keys and not self.field.text:
            await self.app.pop_screen()
            await self.done(self.keys[name])
            return True
        return await super().take_key(event)


async def begin(screen: ClusterScreen) -> None:
    """Read the files, show what fits here, ask what is missing, run."""
    userkeys.forget()
    loaded = await asyncio.to_thread(load, _cluster(screen.board))
    if loaded.problems and not loaded.actions:
        screen.say("; ".join(str(p) for p in loaded.problems[:3]), "failed")
        return
    if not loaded.actions:
        screen.say(f"No actions of your own yet: write {loaded.files[0]} (docs/acting.md has examples).", "paused")
        return
    await screen.app.push_screen(_menu(screen, loaded))


async def begin_by_name(screen: ClusterScreen, name: str) -> None:
    """As if it was chosen from the menu. The files are read anew: what is run is what they say now."""
    loaded = await asyncio.to_thread(load, _cluster(screen.board))
    action = next((a for a in loaded.actions if a.name == name), None)
    if action is None:
        userkeys.forget()
        screen.say(f"There is no action {name} any more.")
    else:
        await start(screen, action, screen.aim())


def _menu(screen: ClusterScreen, loaded: Loaded) -> MenuScreen:
    board, aim, read_only = screen.board, screen.aim(), screen.cockpit.read_only
    by_name = {a.name: a for a in loaded.actions}
    reasons = {a.name: why_not(a, aim, board, read_only) for a in loaded.actions}
    width = max(len(a.name) for a in loaded.actions) + 2
    order = sorted(loaded.actions, key=lambda a: (bool(reasons[a.name]), RISKS.index(a.risk), a.name))
    options = []
    for a in order:
        about = f"off: {reasons[a.name].partition(': ')[2] or reasons[a.name]}" if reasons[a.name] else (
            a.about or shlex.join(a.argv)
        )
        risk = "" if a.risk == OBSERVE else f"{a.risk}: "
        options.append(Option(a.name, f"{fit(a.key, 3)}{fit(a.name, width)}{risk}{about}"))

    async def chosen(name: str) -> None:
        await start(screen, by_name[name], aim)

    problems = tuple(str(p) for p in loaded.problems[:4])
    many = plural(len(aim.ids), aim.kind) if aim else "nothing selected"
    return MenuScreen(
        Question(
            title="your own actions", label="name:", about=(f"for {many}", *problems), options=options, free=False,
            check=lambda name: reasons.get(name, ""),
        ),
        chosen, {a.key: a.name for a in loaded.actions if a.key and not reasons[a.name]},
    )


async def start(screen: ClusterScreen, action: UserAction, aim: Aim) -> None:
    """From the choice to the screen that runs it: inputs, then the typed name of what is destructive."""
    board = screen.board
    if why := browser.refusal() or why_not(action, aim, board, screen.cockpit.read_only):
        screen.say(why)
        return
    chosen = selection(action, aim, board)
    values: dict[str, str] = {}

    async def ask(rest: Sequence[Input]) -> None:
        if not rest:
            await ready()
            return
        first = rest[0]

        async def answered(value: str) -> None:
            values[first.name] = value or first.default
            await ask(rest[1:])

        await screen.app.push_screen(InputScreen(_question(action, first), answered))

    async def ready() -> None:
        try:
            found = jobs(action, chosen, values)
        except template.Unfilled as e:
            screen.say(f"{action.name}: {e}", "failed")
            return
        if action.risk == DESTRUCTIVE:
            name = board.short(chosen[0]["id"]) if len(chosen) == 1 else action.name
            about = (f"for {', '.join(board.short(t['id']) for t in chosen[:6])}"
                     + (f" and {len(chosen) - 6} more" if len(chosen) > 6 else ""), spelled(found[0]))
            await screen.app.push_screen(ConfirmScreen(name, f"{action.name}: destructive", about, confirmed(found)))
        else:
            await show(found, action.risk == OBSERVE)

    def confirmed(found: list[Job]) -> Callable[[str], Awaitable[None]]:
        async def go(_: str) -> None:
            await show(found, True)

        return go

    async def show(found: list[Job], at_once: bool) -> None:
        from screens.userrun import UserRunScreen

        await screen.app.push_screen(UserRunScreen(action, found, at_once))

    await ask(action.inputs)


class InputScreen(AskScreen):
    goes_on = False


def _question(action: UserAction, each: Input) -> Question:
    options = [Option(c, c) for c in each.choices]
    if each.type == "bool":
        options = [Option("yes", "yes"), Option("no", "no")]
    if each.default and options:
        options.sort(key=lambda o: o.value != each.default)
    default = (f"Enter alone: {each.default}",) if each.default and not options else ()
    return Question(
        title=action.name, label=f"{each.label or each.name}:",
        about=(*((action.about,) if action.about else ()), *default), options=options, free=not options,
        check=lambda value: each.wrong(value or each.default),
    )
