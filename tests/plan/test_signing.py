"""Nothing that lacks a demanded signature is put on a host or started, by whatever verb."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cockpit.model.states import State
from cockpit.model.topology import Data, Expected, Service, to_doc
from cockpit.plan.context import PlanContext
from cockpit.plan.signing import Signed, accepted, demands, missing, require_signed
from cockpit.plan.steps import FETCH, PREPARE, START, Bad, Intent, Plan, Refused
from cockpit.plan.undo import return_plan
from cockpit.plan.verbs import plan
from tests.plan.world import actual, context, expected, intent, running, service, unit

BUILD, QA, OLD = "ed25519:build", "ed25519:qa", "ed25519:old"
SIGNERS = {"build": (BUILD,), "qa": (QA, OLD)}
B, Q = Signed("build", BUILD, "ci@b-1"), Signed("qa", QA, "li@jump-1")
EVERY = {"web/1.0.0": (B, Q), "web/2.0.0": (B, Q), "web/3.0.0": (B,)}


def web(version: str = "1.0.0", **more: Any) -> Service:
    return service(version, artifact="web", signatures=more.pop("signatures", ("build", "qa")), **more)


def world(**more: Any) -> Expected:
    return expected({"p.web": web(**more), "p.batch": service(count=1)}, signers=SIGNERS)


def ctx(w: Expected, have: Any = None, **more: Any) -> PlanContext:
    more.setdefault("signed", EVERY)
    more.setdefault("artifacts", dict.fromkeys(["web/1.0.0", "web/2.0.0", "web/3.0.0", "geo/7"], "x"))
    return context(w, have, **more)


def moves(made: Plan) -> bool:
    return any(s.kind in (FETCH, PREPARE, START) for s in made.steps)


def test_a_deploy_says_who_signed() -> None:
    made = plan(intent("deploy", "web", version="2.0.0"), ctx(world()))
    assert "web/2.0.0 is signed by build (ci@b-1), qa (li@jump-1)" in made.touches
    assert moves(made)


def test_a_deploy_without_a_signature_names_the_role() -> None:
    with pytest.raises(Refused) as e:
        plan(intent("deploy", "web", version="3.0.0"), ctx(world()))
    assert str(e.value) == (
        "web/3.0.0 is not signed by qa, as p.web demands: cockpit artifact approve web/3.0.0 --role qa --key FILE"
    )
    with pytest.raises(Refused, match="not signed by build and qa"):
        plan(intent("deploy", "web", version="3.0.0"), ctx(world(), signed={}))


def test_signatures_of_another_version_or_artifact_do_not_count() -> None:
    """The controller files what is genuine under what it was made for; nothing else is looked at."""
    for other in ("web/1.0.0", "web/3.0.0-1", "geo/3.0.0"):
        with pytest.raises(Refused, match=r"web/3\.0\.0 is not signed by build and qa"):
            plan(intent("deploy", "web", version="3.0.0"), ctx(world(), signed={other: (B, Q)}))


def test_a_key_that_is_not_named_any_more() -> None:
    signed = {"web/2.0.0": (B, Signed("qa", "ed25519:mallory", "m"))}
    with pytest.raises(Refused, match="somebody signed as qa, by a key that is not under signers"):
        plan(intent("deploy", "web", version="2.0.0"), ctx(world(), signed=signed))
    old = {"web/2.0.0": (B, Signed("qa", OLD))}
    assert moves(plan(intent("deploy", "web", version="2.0.0"), ctx(world(), signed=old)))
    gone = replace(world(), signers={**SIGNERS, "qa": (QA,)})
    with pytest.raises(Refused, match="qa"):
        plan(intent("deploy", "web", version="2.0.0"), ctx(gone, signed=old))
    swapped = {"web/2.0.0": (B, Signed("qa", BUILD))}
    with pytest.raises(Refused, match="qa"):
        plan(intent("deploy", "web", version="2.0.0"), ctx(world(), signed=swapped))


@pytest.mark.parametrize(
    ("verb", "targets", "params"),
    [
        ("scale", ["web"], {"count": 3}), ("restart", ["web/0"], {}), ("converge", [], {}), ("converge", ["web"], {}),
        ("migrate", ["web/0"], {}), ("drain", ["HOST"], {}), ("start", ["web"], {}), ("push", ["web/1.0.0"], {}),
        ("push", ["web/1.0.0"], {"hosts": ["sh-1", "sh-2", "sh-3", "sh-4"]}),
        ("deploy", ["web"], {"version": "1.0.0"}),
    ],
)  # fmt: skip
def test_every_verb_that_moves_or_starts_it(verb: str, targets: list[str], params: dict[str, Any]) -> None:
    w = world()
    have: Any = None
    if verb in ("converge", "deploy"):
        have = actual([], w.hosts)
    if verb == "start":
        have = running(replace(w, stopped={"p.web/0": True, "p.web/1": True}))
        w = replace(w, stopped={"p.web/0": True, "p.web/1": True})
    if verb == "push":
        have = actual([(unit("p.web/0"), "sh-1")], w.hosts)
    asked = intent(verb, *[w.placement["p.web/0"] if t == "HOST" else t for t in targets], **params)
    assert moves(plan(asked, ctx(w, have)))
    with pytest.raises(Refused, match=r"web/1\.0\.0 is not signed by qa"):
        plan(asked, ctx(w, have, signed={"web/1.0.0": (B,)}))


def test_what_starts_nothing_of_it_is_not_asked() -> None:
    nothing = ctx(world(), signed={})
    assert plan(intent("stop", "web"), nothing).steps
    assert plan(intent("scale", "web", count=1), nothing).steps
    assert moves(plan(intent("restart", "batch"), nothing))
    assert plan(intent("converge"), nothing).empty


def test_a_new_version_is_asked_for_also_where_nothing_runs() -> None:
    w = world()
    stopped = replace(w, stopped={i: True for i in w.placement})
    c = ctx(stopped, actual([(unit("p.web/0", state=State.SHUTDOWN), "sh-1")], w.hosts))
    assert plan(intent("deploy", "web", version="2.0.0"), c).changes
    with pytest.raises(Refused, match="qa"):
        plan(intent("deploy", "web", version="3.0.0"), c)


def applied(w: Expected, after: Expected, **more: Any) -> Plan:
    return plan(intent("apply", document=to_doc(after), source="t.yaml"), ctx(w, **more))


def test_apply_goes_by_the_demands_and_keys_that_it_brings() -> None:
    w = expected({"p.web": web(signatures=())})
    after = replace(w, services={"p.web": web("2.0.0")}, signers=SIGNERS)
    assert moves(applied(w, after))
    assert applied(w, after).locks == tuple(sorted({"p.web", "p.web/0", "p.web/1"}))
    with pytest.raises(Refused, match="not signed by qa"):
        applied(w, replace(after, services={"p.web": web("3.0.0")}))
    with pytest.raises(Refused, match="by a key that is not under signers"):
        applied(w, replace(after, signers={"build": (BUILD,), "qa": (OLD,)}))


def test_a_new_demand_stops_nothing_that_runs_and_says_so() -> None:
    w = expected({"p.web": web("3.0.0", signatures=())})
    made = applied(w, replace(w, services={"p.web": web("3.0.0")}, signers=SIGNERS))
    assert not made.steps
    assert made.warnings == ("p.web uses web/3.0.0, which is not signed by qa: it will not start anew",)
    again = replace(w, services={"p.web": web("3.0.0")}, signers=SIGNERS)
    assert applied(again, replace(again, name="test")).warnings == ()


def test_a_first_import_brings_no_version_into_being() -> None:
    empty = Expected(name="test")
    assert applied(empty, world(), have=actual([], []), signed={}).changes


def test_rollback_and_return_to_what_is_not_signed() -> None:
    w = world(version="2.0.0")
    signed = {"web/2.0.0": (B, Q)}
    first = plan(intent("deploy", "web", version="2.0.0"), ctx(world()))
    back = Intent(verb="rollback", targets=("p.web",), author="x", cause="#1")
    with pytest.raises(Refused, match=r"web/1\.0\.0 is not signed by build and qa"):
        return_plan(ctx(w, signed=signed), back, first.changes, ["p.web/0"])
    assert moves(return_plan(ctx(w), back, first.changes, ["p.web/0"]))


def test_data_counts_as_the_service_that_uses_it() -> None:
    w = expected(
        {"p.web": web(data={"geo": Data(artifact="geo", version="7")}), "q.other": service(artifact="geo")},
        signers=SIGNERS,
    )
    assert {n: dict(r) for n, r in demands(w).items()} == {
        "web": {"build": ("p.web",), "qa": ("p.web",)}, "geo": {"build": ("p.web",), "qa": ("p.web",)},
    }  # fmt: skip
    with pytest.raises(Refused, match="geo/7 is not signed by build and qa, as p.web demands"):
        plan(intent("restart", "web"), ctx(w))
    assert moves(plan(intent("restart", "web"), ctx(w, signed={**EVERY, "geo/7": (B, Q)})))


def test_a_simulated_copy_asks_for_none() -> None:
    assert moves(plan(intent("deploy", "web", version="3.0.0"), ctx(world(), signed=None)))


def test_without_demands_nothing_is_said() -> None:
    w = world(signatures=())
    assert require_signed(w, w, (), EVERY) == ((), ())
    assert not [t for t in plan(intent("restart", "web"), ctx(w)).touches if "signed" in t]


roles = st.lists(st.sampled_from(["build", "qa", "ops"]), unique=True).map(tuple)
signatures = st.dictionaries(
    st.sampled_from(["web/1.0.0", "web/2.0.0"]),
    st.lists(
        st.builds(Signed, st.sampled_from(["build", "qa", "ops"]), st.sampled_from([BUILD, QA, OLD, "ed25519:m"])),
        max_size=4,
    ).map(tuple),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    roles, signatures, st.sampled_from(["1.0.0", "2.0.0"]), st.sampled_from(["deploy", "restart", "scale", "push"])
)
def test_no_plan_moves_what_is_not_signed(
    wanted: tuple[str, ...], signed: dict[str, tuple[Signed, ...]], version: str, verb: str
) -> None:
    w = world(signatures=wanted)
    params: dict[str, Any] = {"deploy": {"version": version}, "scale": {"count": 4}}.get(verb, {})
    if verb == "push":
        params = {"hosts": ["sh-3"]}
    target = f"web/{version}" if verb == "push" else "web"
    lives = version if verb in ("deploy", "push") else "1.0.0"
    lacks = missing(w, f"web/{lives}", signed)
    assert set(lacks) == set(wanted) - set(accepted(w, f"web/{lives}", signed))
    assert all(any(s.role == r and s.key in SIGNERS.get(r, ()) for s in signed.get(f"web/{lives}", ())) or r in lacks
               for r in wanted)  # fmt: skip
    try:
        made = plan(intent(verb, target, **params), ctx(w, signed=signed))
    except Refused as e:
        assert lacks
        assert all(role in str(e) for role in lacks)
    except Bad:
        raise AssertionError("it made sense") from None
    else:
        assert not lacks or not moves(made)
