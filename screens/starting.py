"""From a key or a command to the plan of a verb: say why not, ask what is missing, show the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cockpit.act.table import OBSERVE, VERBS
from cockpit.plan.steps import Intent
from screens.aim import Aim, params, targets, why_not

if TYPE_CHECKING:
    from screens.app import CockpitApp
    from screens.base import ClusterScreen


async def begin_verb(
    app: CockpitApp, screen: ClusterScreen, name: str, aim: Aim, given: tuple[str, ...] = (),
    values: dict[str, Any] | None = None,
) -> None:
    verb = VERBS[name]
    why = why_not(verb, aim, app.board, app.read_only) if aim.kind != "name" else (
        f"{name} is off: {app.read_only}" if app.read_only and verb.risk != OBSERVE else ""
    )
    if why:
        screen.say(why)
        return
    chosen = given or targets(verb, aim, app.board)
    known = {**params(verb, aim), **(values or {})}
    from screens.ask import QUESTIONS, AskScreen

    missing = any(p.required and p.name not in known for p in verb.params)
    if verb.target == "artifact":
        missing = not chosen
    elif name in ("migrate", "abort"):
        missing = not known
    if missing and name in QUESTIONS:
        if aim.kind == "name":
            screen.say(f"{name}: nothing here is called {aim.ids[0]!r}; Tab completes names")
            return
        question = QUESTIONS[name](app, aim)

        async def answered(value: str) -> None:
            answer = {**known, **question.answer(value)}
            await _plan(app, screen, name, answer.pop("targets", chosen), answer)

        await app.push_screen(AskScreen(question, answered))
        return
    await _plan(app, screen, name, chosen, known)


async def _plan(
    app: CockpitApp, screen: ClusterScreen, name: str, chosen: tuple[str, ...], values: dict[str, Any]
) -> None:
    intent = Intent(verb=name, targets=tuple(chosen), params=values, author=app.session.who.author)
    if name in ("pause", "resume"):
        row = await screen.ask(f"asking to {name} {chosen[0]}", app.session.submit(intent))
        if row is not None:
            screen.say(f"{name} {chosen[0]}: asked, it is {row.state}", "ok")
        return
    from screens.plan import PlanScreen

    await app.push_screen(PlanScreen(intent))
