"""Each rule finds what it is for, and says nothing of what is as it should be."""

from __future__ import annotations

from typing import Any

import pytest

from cockpit.explain.advice import RULES, Whole, advise
from cockpit.model.advice_rows import ADVICE, RISK, AdviceRow
from cockpit.model.topology import (
    Check,
    Expected,
    Guard,
    Host,
    Limits,
    Region,
    Relay,
    Restart,
    Service,
    Update,
)
from tests.explain.world import host, instance, relay
from tests.house import tree

HOSTS = {f"sh-{n}": Host(region="sh", address="10.0.0.1") for n in (1, 2)} | {
    f"bj-{n}": Host(region="bj", address="10.0.0.2") for n in (1, 2)
}  # fmt: skip


def service(**more: Any) -> Service:
    values: dict[str, Any] = {"processes": {"main": ("./run",)}, "check": Check(tcp=""), "limits": Limits(memory=1)}
    return Service(**(values | more))


def whole(services: dict[str, Service], on: dict[str, str], **more: Any) -> Whole:
    """A cluster that no rule finds anything in but what is given. `on`: service -> hosts, with blanks between."""
    placement = {f"{p}/{n}": h for p, hosts in on.items() for n, h in enumerate(hosts.split())}
    expected: dict[str, Any] = {
        "name": "c", "hosts": HOSTS, "regions": {"sh": Region(), "bj": Region()}, "services": services,
        "placement": placement, "guards": (Guard(name="g"),),
    }  # fmt: skip
    rows = {i: instance(i, h) for i, h in placement.items()} | {r.id: r for r in more.pop("rows", ())}
    given = {k: more.pop(k) for k in list(more) if k in ("heard", "carried", "told")}
    return Whole(
        expected=Expected(**(expected | more)), instances=rows, hosts=given.get("heard", {}),
        relays=given.get("carried", {}), told=given.get("told", True),
    )  # fmt: skip


def well(**more: Any) -> Whole:
    return whole({"s.web": service()}, {"s.web": "sh-1 bj-1"}, **more)


CASES: list[tuple[str, str, str, str, Whole]] = [
    ("no-check", RISK, "s.web", "no health check",
     whole({"s.web": service(check=None)}, {"s.web": "sh-1 bj-1"})),
    ("alone", RISK, "s.db", "one instance, on sh-1, and s.web cannot do without it", whole(
        {"s.db": service(), "s.web": service(depends=("s.db",))}, {"s.db": "sh-1", "s.web": "sh-1 bj-1"})),
    ("alone", ADVICE, "s.db", "one instance, on sh-1", whole({"s.db": service()}, {"s.db": "sh-1"})),
    ("together", RISK, "s.web", "all 2 instances are on sh-1",
     whole({"s.web": service()}, {"s.web": "sh-1 sh-1"})),
    ("together", ADVICE, "s.web", "3 of 4 instances are on sh-1",
     whole({"s.web": service(update=Update(canary=1))}, {"s.web": "sh-1 sh-1 bj-1 sh-1"})),
    ("one-region", ADVICE, "s.web", "all 2 instances are in region sh",
     whole({"s.web": service()}, {"s.web": "sh-1 sh-2"})),
    ("versions", RISK, "s.web", "2 versions run side by side and no action is at work: 1 (1), 2 (1)",
     well(rows=[instance("s.web/0", "sh-1", version_actual="2")])),
    ("restarts", RISK, "s.web", "s.web/1 was restarted 37 times, and the keeper never gives up",
     well(rows=[instance("s.web/1", "bj-1", restarts=37)])),
    ("stays-down", RISK, "s.web", "restart: never",
     whole({"s.web": service(restart=Restart(mode="never"))}, {"s.web": "sh-1 bj-1"})),
    ("update", RISK, "s.web", "goes on to the last instance",
     whole({"s.web": service(update=Update(on_failure="continue"))}, {"s.web": "sh-1 bj-1"})),
    ("update", RISK, "s.web", "a deploy takes all 2 instances at once",
     whole({"s.web": service(update=Update(parallel=2))}, {"s.web": "sh-1 bj-1"})),
    ("update", RISK, "s.db", "every deploy is an outage for s.web", whole(
        {"s.db": service(update=Update(order="stop-first")), "s.web": service(depends=("s.db",))},
        {"s.db": "sh-1", "s.web": "sh-1 bj-1"})),
    ("update", ADVICE, "s.web", "a deploy to 4 instances begins without a canary",
     whole({"s.web": service()}, {"s.web": "sh-1 sh-2 bj-1 bj-2"})),
    ("no-memory-limit", ADVICE, "s.web", "no limit of memory",
     whole({"s.web": service(limits=Limits())}, {"s.web": "sh-1 bj-1"})),
    ("unsigned", ADVICE, "s.web", "it runs whatever is in the store",
     whole({"s.web": service(artifact="web")}, {"s.web": "sh-1 bj-1"}, signers={"build": ("ed25519:x",)})),
    ("stopped", ADVICE, "s.web", "1 of 3 instances stopped on purpose",
     whole({"s.web": service()}, {"s.web": "sh-1 bj-1 bj-2"}, stopped={"s.web/2": True})),
    ("pinned", ADVICE, "s.web", "s.web/0 pinned by ctl:li",
     well(rows=[instance("s.web/0", "sh-1", pinned="ctl:li")])),
    ("out", ADVICE, "bj-2", "takes nothing new: maintenance", well(modes={"bj-2": "maintenance"})),
    ("full", ADVICE, "sh-1", "full: 1 of at most 1 instance", well(
        hosts=HOSTS | {"sh-1": Host(region="sh", address="10.0.0.1", max_instances=1)})),
    ("one-relay", RISK, "bj", "2 hosts reached through r-1 alone", well(
        heard={n: host(n, region="bj", path=("r-1",)) for n in ("bj-1", "bj-2")},
        carried={"r-1": relay("r-1", region="bj")})),
    ("no-relay", ADVICE, "bj", "6 hosts and no relay", well(
        hosts=HOSTS | {f"bj-{n}": Host(region="bj", address="10.0.0.3") for n in range(3, 7)},
        relays={"r-1": Relay(region="sh", address="10.0.0.9")})),
    ("agents", ADVICE, "", "agents of 2 versions: 1.0 (1), 1.1 (1)", well(
        heard={"sh-1": host("sh-1", agent_version="1.0"), "bj-1": host("bj-1", agent_version="1.1")})),
    ("nobody-told", RISK, "", "nobody is told of alerts", well(told=False)),
    ("no-guards", ADVICE, "", "no guard rails", well(guards=())),
]


@pytest.mark.parametrize(("rule", "weight", "name", "says", "given"), CASES, ids=[f"{c[0]} {c[2]}" for c in CASES])
def test_a_rule_finds_what_it_is_for(rule: str, weight: str, name: str, says: str, given: Whole) -> None:
    found = {(r.rule, r.name): r for r in advise(given)}
    row = found[rule, name]
    assert says in row.text and row.weight == weight and row.do and row.key == f"{rule} {name}".strip()
    others = {k: r.text for k, r in found.items() if r.weight == RISK and k != (rule, name)}
    assert {k[0] for k in others} <= {"alone"}, others


def test_every_rule_has_a_case_and_a_name_of_its_own() -> None:
    assert {c[0] for c in CASES} == {r.name for r in RULES}
    assert len({r.name for r in RULES}) == len(RULES)


def test_the_manual_knows_every_rule() -> None:
    manual = (tree.ROOT / "docs/understanding.md").read_text()
    assert [r.name for r in RULES if f"| `{r.name}` | {r.weight} | {r.about} |" not in manual] == []


def test_of_what_is_well_there_is_nothing_to_say() -> None:
    assert advise(well()) == []


def test_what_does_not_run_needs_no_advice() -> None:
    gone = whole({"s.web": service(check=None), "s.off": service(check=None)}, {"s.web": "sh-1"},
                 stopped={"s.web/0": True})
    assert [r.rule for r in advise(gone)] == ["stopped"]


def test_versions_of_an_action_at_work_are_no_risk() -> None:
    rows = [instance("s.web/0", "sh-1", version_actual="2", mark="changing")]
    assert advise(well(rows=rows)) == []


def names(rows: list[AdviceRow]) -> list[tuple[str, str]]:
    return [(r.rule, r.name) for r in rows]


def test_risks_first_and_only_what_was_asked_for() -> None:
    given = whole(
        {"s.web": service(check=None), "t.web": service(limits=Limits()), "s.db": service(check=None)},
        {"s.web": "sh-1 bj-1", "t.web": "sh-1 bj-1", "s.db": "sh-1 bj-1"}, guards=(),
    )  # fmt: skip
    both = [("no-check", "s.db"), ("no-check", "s.web")]
    assert names(advise(given)) == [*both, ("no-memory-limit", "t.web"), ("no-guards", "")]
    assert names(advise(given, "s")) == both and names(advise(given, "t.web")) == [("no-memory-limit", "t.web")]
    assert advise(given, "s.we") == [] and advise(given, "sh-1") == []
