"""Guards over what runs at once: says why not, asks for the name or for a reason, and only then goes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from cockpit.model.guard_rows import ALLOW, APPROVE, CONFIRM, RANK, Verdict, direct
from cockpit.plan.steps import Bad, Plan, Refused
from screens.ask import AskScreen, ConfirmScreen, Question

if TYPE_CHECKING:
    from screens.base import ClusterScreen

Request = dict[str, Any]
Go = Callable[[list[Request]], Awaitable[None]]
SHOWN = 4
"""Plans that a question tells in full."""


async def agree(screen: ClusterScreen, verb: str, requests: Sequence[Request], go: Go, *, name: str = "") -> None:
    """Calls `go` with the requests and what the guards want beside them; not at all when the guards or the person
    say no. One question for all: `name` is what is typed where they are several."""
    try:
        with screen.waiting(f"asking what the guards say of {verb}"):
            plans = [await direct(screen.session, verb, request) for request in requests]
    except (Bad, Refused) as error:
        screen.say(str(error), "failed")
        return
    except ConnectionError as error:
        screen.say(f"{verb}: {error or 'no answer from the controller'}.", "unknown")
        return
    strictest = max(plans, key=_weight, default=None)
    verdict = strictest.guard if strictest is not None else None
    if strictest is None or verdict is None or verdict.effect in (ALLOW, APPROVE):
        await go(list(requests))  # a second person is asked by the controller when it is sent
    elif verdict.effect == CONFIRM:
        await _ask_name(screen, plans, verdict, requests, go, name)
    else:
        await _barred(screen, verb, strictest, verdict, requests, go, name)


def _weight(plan: Plan) -> int:
    return RANK.get(plan.guard.effect, len(RANK)) if plan.guard is not None else 0


async def _ask_name(
    screen: ClusterScreen, plans: list[Plan], verdict: Verdict, requests: Sequence[Request], go: Go, name: str
) -> None:
    about = [verdict.words()]
    for plan in plans[:SHOWN]:
        about += plan.touches
    if len(plans) > SHOWN:
        about.append(f"and {len(plans) - SHOWN} more")
    agreed = [{**r, "confirm": p.confirm, "digest": p.digest} for r, p in zip(requests, plans, strict=True)]

    async def typed(_: str) -> None:
        screen.call_later(go, agreed)  # in the screen's own turn: the question has gone by then

    wanted = plans[0].confirm if len(plans) == 1 else name
    title = plans[0].title if len(plans) == 1 else f"{name}: {len(plans)} times"
    await screen.app.push_screen(ConfirmScreen(wanted, title, tuple(about), typed))


async def _barred(
    screen: ClusterScreen, verb: str, plan: Plan, verdict: Verdict, requests: Sequence[Request], go: Go, name: str
) -> None:
    words = replace(verdict, break_glass=False).words()
    screen.say(f"{plan.title} is {words}", "failed")
    if not verdict.break_glass:
        return

    async def broken(reason: str) -> None:
        async def again() -> None:
            await agree(screen, verb, [{**r, "break_glass": reason} for r in requests], go, name=name)

        screen.call_later(again)

    await screen.app.push_screen(AskScreen(Question(
        title=f"break the glass: {plan.title}", label="reason:",
        about=(words, "The reason goes into the journal with your name, for everybody to see."),
        check=lambda value: "" if value.strip() else "A reason, or Esc.",
    ), broken))
