"""The table of the topology file, continued: guard rails."""

from __future__ import annotations

from zoneinfo import ZoneInfo, available_timezones

from cockpit.act.table import DIRECT, VERBS
from cockpit.model.kinds import Field, ListOf, Object, Scalar, integer, text, truth, word
from cockpit.model.problems import Wrong, nearest
from cockpit.model.scalars import CONSTRAINT, LABEL_TEXT, MANY, NAME, SOME_TIME
from cockpit.model.topology import Guard, Window

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _days(written: str) -> str:
    parts = written.split("-")
    for part in parts:
        if part not in DAYS:
            raise Wrong(f'"{written[:40]}" is not a day such as mon, or days such as mon-fri', nearest(part, DAYS))
    if len(parts) > 2:
        raise Wrong(f'"{written[:40]}" names more than a first and a last day')
    return written


def _zone(written: str) -> str:
    try:
        ZoneInfo(written)
    except (KeyError, OSError, ValueError):
        near = nearest(written, available_timezones())
        raise Wrong(f'"{written[:60]}" is not a time zone such as Asia/Shanghai', near) from None
    return written


CLOCK = r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"
FLOOR = r"^[0-9]{1,6}%?$"
_TIME = text("a time such as 18:00", pattern=CLOCK, loose=True)
_PATTERN = text("a name or a pattern such as puzzle.*", pattern=r"^[A-Za-z0-9*?\[\]!_.:/@#+-]{1,256}$")
_COUNT, _SOME = integer("a number", 0, MANY), integer("a number", 1, MANY)

WINDOW = Object(
    Window, "a time window",
    (
        Field("days", ListOf(Scalar("a day", {"type": "string"}, parse=_days), "a list of days", least=1),
              "Days (mon, mon-fri) on which it begins; left out: every day."),
        Field("from", _TIME, "When it begins.", attribute="start", default="00:00"),
        Field("to", _TIME, "When it ends; before `from`: on the next day.", attribute="end", default="24:00"),
        Field("zone", Scalar("a time zone", {"type": "string"}, parse=_zone),
              "Time zone; left out: the time of the controller's machine."),
    ),
)  # fmt: skip

GUARD = Object(
    Guard, "a guard",
    (
        Field("name", LABEL_TEXT, "Its name, shown with every verdict.", fill=""),
        Field("verbs", ListOf(word(*VERBS, *DIRECT), "a list of verbs", least=1, unique=True),
              "For these verbs; left out: for all but pause, resume, abort, and " + ", ".join(DIRECT) + "."),
        Field("targets", ListOf(_PATTERN, "a list of names or patterns", least=1, unique=True),
              "When one of these is touched: tree nodes with all below them, instances, hosts, patterns; "
              "guards, signers/NAME, schedules/NAME."),
        Field("regions", ListOf(NAME, "a list of regions", least=1, unique=True), "When a host there is touched."),
        Field("hosts", ListOf(CONSTRAINT, "a list of constraints", least=1, unique=True),
              "When a host is touched that meets all of these: label=value, host=NAME."),
        Field("risk", ListOf(word("change", "destructive"), "a list of risks", least=1, unique=True),
              "For plans of this risk."),
        Field("authors", ListOf(_PATTERN, "a list of people", least=1, unique=True),
              "When one of these asks: li, li@jump-1, patterns."),
        Field("groups", ListOf(text("the name of a group", pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"),
                               "a list of groups", least=1, unique=True),
              "When somebody of these Unix groups asks (groups on the controller's machine)."),
        Field("over_instances", _COUNT, "When more instances than this are touched."),
        Field("over_hosts", _COUNT, "When more hosts than this are touched."),
        Field("below", text("a number such as 2, or a share such as 50%", pattern=FLOOR, loose=True),
              "When fewer instances of a touched service would be ready at the worst moment."),
        Field("inside", WINDOW, "At these times."),
        Field("outside", WINDOW, "At all times but these."),
        Field("effect", word("allow", "confirm", "approve", "deny"),
              "allow; confirm: the name must be typed; approve: a second person must agree; deny.", default="allow"),
        Field("max", _SOME, "At most so many instances at once, whatever the effect."),
        Field("expires", SOME_TIME, "So long a request for approval waits.", default="4h"),
        Field("break_glass", truth(), "It may be passed with a reason, which is written down.", default=False),
        Field("reason", text("text", empty=False), "Why; shown to whoever meets it.", fill=""),
    ),
    block=True,
    instead={"when": "inside", "verb": "verbs", "target": "targets", "region": "regions", "host": "hosts",
             "author": "authors", "group": "groups", "action": "effect", "why": "reason", "bulk": "over_instances"},
)  # fmt: skip
