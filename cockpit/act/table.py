"""The one table of actions.

The key binding, the palette entry, the CLI sub-command, the session op, the journal entry and the
replay step of a verb all come from its entry here. `cockpit.plan.verbs` holds the pure function
that makes each verb's plan, under the same name.
"""

from __future__ import annotations

from typing import Literal

import msgspec

OBSERVE = "observe"
CHANGE = "change"
DESTRUCTIVE = "destructive"

Kind = Literal["service", "instance", "any", "host", "artifact", "action", "topology", "revision"]
ParamType = Literal["str", "int", "bool", "host", "version", "hosts", "document"]


class Param(msgspec.Struct, frozen=True):
    name: str
    type: ParamType
    help: str
    required: bool = True
    first: bool = False
    """Stands before the targets, as in `signal HUP web/0`."""


class Verb(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    target: Kind
    """`any` takes tree nodes, services and instances."""
    many: bool = False
    """Takes several targets."""
    optional: bool = False
    """The target may be left out (then: everything)."""
    params: tuple[Param, ...] = ()
    risk: str = CHANGE
    key: str = ""
    help: str
    example: str


_ALL = (
    Verb(
        name="apply", target="topology", risk=CHANGE,
        params=(
            Param("document", "document", "the topology file's content"),
            Param("source", "str", "name of the file", required=False),
            Param("base", "int", "of an edit: the revision that was edited", required=False),
        ),
        help="Import a topology file as the next revision and carry out what changed.",
        example="cockpit apply topology.yaml",
    ),
    Verb(
        name="converge", target="any", many=True, optional=True, key="c",
        help="Remove drift: make what runs match what is expected.",
        example="cockpit converge puzzle.web",
    ),
    Verb(
        name="deploy", target="service", key="d",
        params=(
            Param("version", "version", "version to run"),
            Param("data", "str", "a data artifact of the service: its version, not the release's", required=False),
        ),
        help="Run another version of a service, in batches, returning by itself when it fails.",
        example="cockpit deploy sudoku 1.1.0",
    ),
    Verb(
        name="restart", target="any", many=True, key="r",
        help="Restart instances one batch after the other, drained first.",
        example="cockpit restart web/0",
    ),
    Verb(
        name="stop", target="any", many=True, risk=DESTRUCTIVE, key="x",
        help="Drain and stop instances; they stay stopped until started.",
        example="cockpit stop batch --confirm batch",
    ),
    Verb(
        name="start", target="any", many=True, key="t",
        help="Start stopped instances; with a host, take it back into service after a drain.",
        example="cockpit start batch",
    ),
    Verb(
        name="scale", target="service", key="s",
        params=(Param("count", "int", "number of instances"),),
        help="Change the number of instances. To fewer is destructive.",
        example="cockpit scale sudoku 6",
    ),
    Verb(
        name="migrate", target="instance", key="m",
        params=(Param("host", "host", "host to move to; empty lets placement choose", required=False),),
        help="Start an instance on another host, move the traffic, stop the old one.",
        example="cockpit migrate web/1 bj-2",
    ),
    Verb(
        name="drain", target="host", risk=DESTRUCTIVE, key="D",
        help="Move everything off a host and place nothing new on it.",
        example="cockpit drain sh-3 --confirm sh-3",
    ),
    Verb(
        name="push", target="artifact", key="p",
        params=(
            Param("hosts", "hosts", "hosts to push to; empty: where its services run", required=False),
            Param("warm", "bool", "only to the relays of their regions", required=False),
        ),
        help="Put an artifact version on hosts ahead of a deploy.",
        example="cockpit push sudoku/1.1.0",
    ),
    Verb(
        name="rollback", target="any", optional=True, key="u",
        params=(Param("action", "str", "id of the action to undo; empty: the target's last", required=False),),
        help="Undo an action by its inverse; refused when its paths have changed since.",
        example="cockpit rollback sudoku",
    ),
    Verb(
        name="adopt", target="any", many=True, optional=True, key="A",
        help="Take what is actual into expected.",
        example="cockpit adopt puzzle.web",
    ),
    Verb(
        name="upgrade", target="host", many=True, optional=True,
        params=(
            Param("version", "str", "version of the agent to run"),
            Param("batch", "str", "hosts at a time, as a number or in percent (default: a tenth)", required=False),
            Param("pause", "bool", "only the first batch; the same again goes on", required=False),
            Param("keeper", "bool", "the keepers, too: each becomes the new one in place", required=False),
            Param("artifact", "str", "name of the agent's artifact (default: cockpit-agent)", required=False),
        ),
        help="Replace the agents of hosts, batch by batch; a batch that does not come back holds the rest.",
        example="cockpit upgrade 1.2.0",
    ),
    Verb(
        name="signal", target="any", many=True, key="K",
        params=(
            Param("signal", "str", "HUP, USR1, USR2, WINCH, CONT, TERM, INT, QUIT, KILL or STOP", first=True),
            Param("process", "str", "one of the instance's processes, by its name (default: main)", required=False),
            Param("all", "bool", "every process of the instance, and what these started", required=False),
        ),
        help="Send a signal to the main process of instances. What ends or freezes it is destructive.",
        example="cockpit signal HUP web/0",
    ),
    Verb(
        name="pause", target="action", key="P",
        params=(Param("after", "str", "id of the step after which to hold (default: now)", required=False),),
        help="Hold an action before its next step.",
        example="cockpit pause '#118'",
    ),
    Verb(
        name="resume", target="action", key="R",
        help="Let a paused or interrupted action go on.",
        example="cockpit resume '#118'",
    ),
    Verb(
        name="abort", target="action", risk=DESTRUCTIVE, key="X",
        params=(
            Param("undo", "bool", "also return to what was before", required=False),
            Param("after", "str", "id of the step after which to end (default: now)", required=False),
        ),
        help="End an action where it stands; with undo, return to what was before.",
        example="cockpit abort '#118' --confirm 118",
    ),
)

VERBS: dict[str, Verb] = {v.name: v for v in _ALL}
"""Every verb by name, in the order they are shown."""

DIRECT: dict[str, Verb] = {v.name: v for v in (
    Verb(name="exec", target="host", many=True, help="Run one program on hosts.", example="cockpit exec -- uptime"),
    Verb(name="shell", target="any", help="Open a shell on a host or beside an instance.",
         example="cockpit shell sh-1"),
    Verb(name="copy", target="any", help="Copy one file from or to a host, or beside an instance.",
         example="cockpit cp web/2:app.log ."),
    Verb(name="forward", target="instance", help="Make a port of an instance reachable on the operator's machine.",
         example="cockpit forward web/0 8080:http"),
    Verb(name="plugin-push", target="host", many=True, help="Load a plug-in on hosts.",
         example="cockpit plugin push backup/1.2.0 --all"),
    Verb(name="plugin-remove", target="host", many=True, help="Unload a plug-in on hosts.",
         example="cockpit plugin remove backup --all"),
    Verb(name="artifact-build", target="host", help="Run a build recipe on a host; the store gets what it makes.",
         example="cockpit artifact build recipe.yaml --name web --version 1.2.0 --host b-1"),
)}  # fmt: skip
"""What runs at once, without steps, and has a command of its own. Guards can name these too."""
