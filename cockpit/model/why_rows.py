"""What the explanation of an object says: findings with their evidence, and moments of its life."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from cockpit.model.view import FAILED, OK, Row

if TYPE_CHECKING:
    from cockpit.model.asking import Caller

BECAUSE = "because"
PERHAPS = "perhaps because"

INSTANCE, SERVICE, GROUP, HOST, RELAY, REGION, ACTION, CLUSTER = (
    "instance", "service", "group", "host", "relay", "region", "action", "cluster",
)  # fmt: skip
"""Kinds of object. A group is an inner node of the tree; a cluster here is everything."""

Door = tuple[str, ...]
"""Words of the command line that open what is spoken of: `("node", "puzzle.web/0")`; empty: nothing to open."""


class Evidence(Row, frozen=True, kw_only=True):
    """One fact, and where it can be looked at."""

    kind: str
    """check, exit, log, host, relay, action, revision, dependency, pin, drift, version, neighbour, unknown."""
    text: str
    at: float | None = None
    mark: str = OK
    door: Door = ()


class Suspect(Row, frozen=True, kw_only=True):
    """A change shortly before: a suspicion, never a finding."""

    text: str
    """`deploy sudoku 1.2.0 (#118, rev 42) began 34 s before`."""
    at: float
    before: float
    """Seconds between the change and what is explained."""
    door: Door = ()


class Remedy(Row, frozen=True, kw_only=True):
    """What can be done: a verb with its targets, or an object to look at."""

    text: str
    verb: str = ""
    key: str = ""
    kind: str = ""
    """Kind of the targets: instance, node, host, action."""
    targets: tuple[str, ...] = ()
    door: Door = ()


class Cause(Row, frozen=True, kw_only=True):
    """Why, as another finding of the same answer says it."""

    how: str
    """`because` or `perhaps because`."""
    text: str
    finding: str
    """Key of that finding."""
    observed: bool = False
    """It is called, as connections show, and nothing declares that."""


class Finding(Row, frozen=True, kw_only=True):
    key: str
    """The same for the same trouble in every answer."""
    kind: str
    name: str
    """What it is about; of several instances of one service the service."""
    word: str
    """`unhealthy`, `unknown`, `interrupted`."""
    what: str
    """A sentence without a full stop."""
    mark: str = FAILED
    since: float | None = None
    reason: str = ""
    root: bool = True
    """No other finding of the answer explains it."""
    causes: tuple[Cause, ...] = ()
    objects: tuple[str, ...] = ()
    """Ids it speaks of, at most OBJECTS of them, sorted."""
    count: int = 1
    """How many it speaks of."""
    hosts: int = 0
    """Other hosts that are silent because of it."""
    silent: int = 0
    """Instances nothing is known of because of it."""
    perhaps: int = 0
    """Instances that are unwell perhaps because of it."""
    evidence: tuple[Evidence, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    door: Door = ()


class Findings(Row, frozen=True, kw_only=True):
    """The answer for one object. No findings: there is nothing to explain, and `calm` says how it is."""

    kind: str
    name: str
    now: float
    findings: tuple[Finding, ...] = ()
    left_out: int = 0
    """Findings that did not fit."""
    calm: str = ""
    lately: tuple[Moment, ...] = ()
    """Of what is well now and was not within the last day: what happened, newest first."""
    unknown: tuple[str, ...] = ()
    """What could not be looked at, in sentences."""


OBJECTS = 50


class Moment(Row, frozen=True, kw_only=True):
    """One entry in the life of an object."""

    at: float
    kind: str
    """state, health, version, run, action, step, revision, presence, config, data, agent, boot, clock, note, gap."""
    kinds: tuple[str, str] = ("", "")
    """Kind and name of the object it is about."""
    text: str
    mark: str = OK
    source: str = ""
    """Where it is known from: journal, revisions, actions, exits, watched, history."""
    door: Door = ()


class Life(Row, frozen=True, kw_only=True):
    """The moments of one object, oldest first."""

    kind: str
    name: str
    now: float
    moments: tuple[Moment, ...] = ()
    left_out: int = 0
    """Older moments that did not fit."""
    unknown: tuple[str, ...] = ()


class JournalLine(Row, frozen=True, kw_only=True):
    seq: int
    time: float
    kind: str
    text: str
    """One sentence."""
    action: str = ""
    author: str = ""
    mark: str = OK
    hash: str = ""


class JournalPage(Row, frozen=True, kw_only=True):
    """Entries in their order, with the places in the file where they begin and end."""

    lines: tuple[JournalLine, ...] = ()
    start: int = 0
    end: int = 0
    count: int = 0
    """Entries that the whole journal has."""
    head: str = ""
    whole: bool | None = None
    """The chain was verified up to `end`; None: nobody looked."""
    said: str = ""
    """What the verification found."""


async def explain(session: Caller, name: str = "", *, kind: str = "") -> Findings:
    """Why an object is as it is; the whole cluster without a name. Raises Bad for an unknown one."""
    return msgspec.convert(await session.call("explain", {"name": name, "kind": kind}), Findings)


async def timeline(session: Caller, name: str = "", *, kind: str = "", limit: int = 500) -> Life:
    """Raises Bad for an unknown object."""
    return msgspec.convert(await session.call("timeline", {"name": name, "kind": kind, "limit": limit}), Life)


async def journal_page(
    session: Caller, *, before: int = -1, after: int = -1, limit: int = 300, verify: bool = False
) -> JournalPage:
    """The last entries; those that end where a page starts (`before`); those that follow one (`after`)."""
    args = {"before": before, "after": after, "limit": limit, "verify": verify}
    return msgspec.convert(await session.call("journal", args), JournalPage)
