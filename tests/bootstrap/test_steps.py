"""What was found on a host decides what is done there; once it is done, nothing is."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest

from cockpit.bootstrap import bundles, steps, texts
from cockpit.bootstrap.bundles import ONE, ZIP, BadBundle, Bundle, NoBundle
from cockpit.bootstrap.found import Found
from cockpit.bootstrap.steps import Plan, Refused, Wish

FRESH = Found(
    uid=0, user="root", arch="x86_64", init="systemd", systemd=252, pythons={"/usr/bin/python3": (3, 11)},
    openssl=True, directory="/var/lib/cockpit", free=1 << 34,
)  # fmt: skip
ELF = Bundle(b"one", ONE, 62, "dist/cockpit-agent")
PYZ = Bundle(b"zip", ZIP, 0, "the zipapp")
WISH = Wish("sh-4", "puzzle", "agent")


def words(plan: Plan) -> list[str]:
    return [step.word for step in plan.steps]


def finished(plan: Plan, found: Found) -> Found:
    """The host after these steps."""
    bundle = plan.bundle
    assert bundle is not None
    units = {s.more["name"]: sha256(s.more["content"].encode()).hexdigest() for s in plan.steps if s.word == "unit"}
    lines = [s.more["line"] for s in plan.steps if s.word == "cron"]
    return replace(
        found, current=bundle.digest, sum=bundle.sum, program=bundle.name, owner=found.uid,
        identity={"name": WISH.host, "uuid": "u-1", "cluster": WISH.cluster}, units=units,
        enabled=frozenset(units), active=frozenset(units), agents=(11,), keepers=(12,), cronline="".join(lines),
    )  # fmt: skip


def test_with_systemd() -> None:
    plan = steps.plan(FRESH, WISH, [ELF, PYZ])
    assert words(plan) == ["upload", "join", "unit", "unit", "enable", "enable"]
    assert plan.bundle is ELF and plan.program == ("/var/lib/cockpit/bin/current/cockpit-agent",)
    again = steps.plan(finished(plan, FRESH), replace(WISH, uuid="u-1"), [PYZ])
    assert again.steps == () and again.bundle is None  # a newer bundle is no reason
    assert "cockpit agent upgrade" in again.notes[0]


def test_the_units_of_another_directory_stay_what_they_are() -> None:
    """Of another cluster, or another host on the same machine."""
    taken = replace(FRESH, directory="/srv/two", elsewhere="/var/lib/cockpit")
    with pytest.raises(Refused, match="are those of /var/lib/cockpit.*--no-systemd lets what is in /srv/two run"):
        steps.plan(taken, WISH, [ELF])
    assert "start" in words(steps.plan(taken, replace(WISH, systemd=False), [ELF]))
    assert "start" in words(steps.plan(replace(taken, uid=1000, user="ops"), WISH, [ELF]))


@pytest.mark.parametrize("cut", range(6))
def test_interrupted_it_goes_on_where_it_was(cut: int) -> None:
    plan = steps.plan(FRESH, WISH, [ELF])
    whole = finished(plan, FRESH)
    done = set(words(plan)[:cut])
    partly = replace(
        whole,
        current=whole.current if "upload" in done else "", sum=whole.sum if "upload" in done else "",
        program=whole.program if "upload" in done else "",
        identity=whole.identity if "join" in done else None,
        units=dict(list(whole.units.items())[: max(0, cut - 2)]),
        enabled=frozenset([texts.KEEPER] if cut > 4 else []), active=frozenset([texts.KEEPER] if cut > 4 else []),
        agents=(), keepers=(),
    )  # fmt: skip
    rest = steps.plan(partly, replace(WISH, uuid="u-1" if "join" in done else ""), [ELF])
    assert words(rest) == words(plan)[cut:]


def test_without_systemd() -> None:
    found = replace(FRESH, systemd=0, init="init", crontab=True, cron="cron")
    plan = steps.plan(found, WISH, [ELF])
    assert words(plan) == ["upload", "join", "start", "cron"]
    assert words(steps.plan(finished(plan, found), replace(WISH, uuid="u-1"), [ELF])) == []
    # a crash of both: started again, the crontab stays
    dead = replace(finished(plan, found), agents=(), keepers=())
    assert words(steps.plan(dead, replace(WISH, uuid="u-1"), [ELF])) == ["start"]


@pytest.mark.parametrize(("crontab", "cron", "why"), [(False, "", "there is no cron"), (True, "", "no cron runs")])
def test_without_cron_it_says_that_nothing_starts_them(crontab: bool, cron: str, why: str) -> None:
    plan = steps.plan(replace(FRESH, systemd=0, crontab=crontab, cron=cron), WISH, [ELF])
    assert words(plan) == ["upload", "join", "start"]
    note = next(n for n in plan.notes if "nothing starts them after a boot" in n)
    assert why in note and "/var/lib/cockpit/bin/current/cockpit-agent run --dir /var/lib/cockpit" in note


def test_asked_for_no_systemd_or_not_root() -> None:
    assert "start" in words(steps.plan(FRESH, replace(WISH, systemd=False), [ELF]))
    mine = replace(FRESH, uid=1000, user="app", directory="/home/app/.cockpit")
    plan = steps.plan(mine, WISH, [ELF])
    assert "start" in words(plan) and any("enable-linger app" in note for note in plan.notes)


def test_an_agent_that_runs_otherwise_is_left_alone() -> None:
    plan = steps.plan(FRESH, WISH, [ELF])
    loose = replace(finished(plan, FRESH), units={}, enabled=frozenset(), active=frozenset())
    found = steps.plan(loose, replace(WISH, uuid="u-1"), [ELF])
    assert found.steps == () and any("without systemd" in note for note in found.notes)


def test_joined_anew_the_agent_that_runs_is_restarted() -> None:
    plan = steps.plan(FRESH, WISH, [ELF])
    assert words(steps.plan(finished(plan, FRESH), replace(WISH, uuid="another"), [ELF])) == ["join", "restart"]
    assert words(steps.plan(finished(plan, FRESH), WISH, [ELF])) == ["join", "restart"]  # revoked, for example


def test_a_host_without_agent_is_switched_before_its_agent_starts() -> None:
    wish = replace(WISH, connection="ssh")
    with pytest.raises(Refused, match="--switch"):
        steps.plan(FRESH, wish, [ELF])
    found = words(steps.plan(replace(FRESH, records=True), replace(wish, switch=True), [ELF]))
    assert found.index("join") < found.index("switch") < found.index("enable")


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"system": "FreeBSD"}, "agents run on Linux"),
        ({"lacks": ("sha256sum",)}, "there is no sha256sum"),
        ({"denied": "/var/lib"}, "may not write to /var/lib"),
        ({"owner": 1000}, "belongs to user 1000"),
        ({"free": 1 << 20}, "1 MiB are free"),
        ({"identity": {"name": "sh-5", "uuid": "u", "cluster": "puzzle"}}, "this machine is sh-5 already"),
        ({"identity": {"name": "sh-4", "uuid": "u", "cluster": "other"}}, "of the cluster other already"),
    ],
)
def test_refused_with_a_reason(more: dict[str, object], text: str) -> None:
    with pytest.raises(Refused, match=text):
        steps.plan(replace(FRESH, **more), WISH, [ELF])  # type: ignore[arg-type]


@pytest.mark.parametrize("directory", ["relative", "/with space", "/per%cent", "/a/../b", "/a//b", '/q"', "/$(x)"])
def test_directories_that_units_and_crontabs_read_differently_are_refused(directory: str) -> None:
    with pytest.raises(texts.NotPlain):
        steps.plan(replace(FRESH, directory=directory), WISH, [ELF])


def test_which_bundle() -> None:
    assert bundles.choose([ELF, PYZ], FRESH) is ELF
    arm = replace(FRESH, arch="aarch64")
    assert bundles.choose([ELF, PYZ], arm) is PYZ
    old = replace(arm, pythons={"/usr/bin/python3": (3, 6)}, halves=("/usr/bin/python3.9",))
    with pytest.raises(NoBundle, match=r"and this host is aarch64; .*3.9 or newer; /usr/bin/python3.9 lacks"):
        bundles.choose([ELF, PYZ], old)
    with pytest.raises(NoBundle, match="openssl"):
        bundles.choose([PYZ], replace(FRESH, openssl=False))
    both = replace(FRESH, pythons={"/usr/bin/python3": (3, 6), "/usr/bin/python3.9": (3, 9)})
    assert bundles.program(ZIP, "/d", both)[0] == "/usr/bin/python3.9"


def test_what_is_a_bundle() -> None:
    elf = bytearray(b"\x7fELF\x02\x01" + bytes(60) + b"COCKPIT1")
    elf[18] = 183
    assert bundles.of(bytes(elf), "f").machine == 183
    for data in (b"", b"\x7fELF\x02\x01" + bytes(60), b"#!/bin/sh\n", bytes(elf[:-1])):
        with pytest.raises(BadBundle):
            bundles.of(data, "f")


def test_the_units() -> None:
    keeper = texts.keeper_unit(["/d/bin/current/cockpit-agent"], "/d", 252)
    agent = texts.agent_unit(["/usr/bin/python3", "/d/bin/current/cockpit-agent.pyz"], "/d")
    for line in ("KillMode=process", "Restart=always", "OOMScoreAdjust=-999", "Delegate=yes", "Type=exec"):
        assert line in keeper.splitlines()
    assert "ExecStart=/d/bin/current/cockpit-agent keeper --dir /d" in keeper
    for line in ("KillMode=process", "Restart=always", "Type=notify", "NotifyAccess=all"):
        assert line in agent.splitlines()
    assert "ExecStart=/usr/bin/python3 /d/bin/current/cockpit-agent.pyz run --dir /d --supervised" in agent
    assert "Type=simple" in texts.keeper_unit(["/d/a"], "/d", 239)
    for binding in ("BindsTo", "PartOf", "Requires=", "StopWhenUnneeded", "Conflicts"):
        assert binding not in keeper + agent  # nothing that ends the one ends the other


def test_the_crontab_keeps_what_is_not_ours() -> None:
    line = texts.cron_line(["/d/bin/current/cockpit-agent"], "/d")
    other = texts.cron_line(["/e/bin/current/cockpit-agent"], "/e")
    before = f"# mine\n5 4 * * * backup\n@reboot old # cockpit /d\n{other}\n"
    after = texts.crontab(before, line)
    assert after == f"# mine\n5 4 * * * backup\n{other}\n{line}\n"
    assert texts.crontab(after, line) == after
    assert texts.crontab("", line) == line + "\n"
