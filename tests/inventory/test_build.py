"""Whatever is found: the text loads, and says what was built."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit.inventory.build import Options, build, wanted_addresses
from cockpit.inventory.found import Found, Machine, Place, Program, braces
from cockpit.inventory.text import fresh, onto
from cockpit.model.load import load_text
from cockpit.model.topology import Runtime, Service

ODD = st.sampled_from(
    ["web", "Web", "web 1", "region", "", "a.b", "é{}", "#x: [", "'\"", "\n", "x" * 300, "10.0.0.1", "\0"]
)  # fmt: skip
ADDRESS = st.sampled_from(["", "10.0.0.1", "10.0.0.2", "fd00::1", "name", "0.0.0.0", "224.0.0.1", "name\nx"])
MACHINE = st.builds(
    Machine, name=ODD, place=st.builds(Place, ODD, st.integers(0, 3)), address=ADDRESS, target=ODD,
    port=st.sampled_from([22, 2222]), user=ODD, jump=st.lists(ODD, max_size=2).map(tuple),
    labels=st.dictionaries(ODD, ODD, max_size=3), region=ODD, local=st.booleans(),
    notes=st.lists(ODD, max_size=2).map(tuple),
)  # fmt: skip


def service(word: str, env: dict[str, str], user: str, directory: str, signal: bool) -> Service:
    return Service(
        processes={"main": (braces(word) or "x", "{slot}")}, env={k: braces(v) for k, v in env.items()}, user=user,
        directory=directory, runtime=Runtime(systemd="u") if signal else Runtime(supervisord=braces(word)),
    )  # fmt: skip


PROGRAM = st.builds(
    Program, path=st.lists(ODD, min_size=1, max_size=3).map(tuple), machine=ODD, place=st.builds(Place, ODD),
    service=st.builds(service, ODD, st.dictionaries(ODD, ODD, max_size=2), ODD, ODD, st.booleans()),
    slots=st.integers(0, 3), notes=st.lists(ODD, max_size=1).map(tuple),
)  # fmt: skip


@settings(max_examples=60)
@given(st.lists(MACHINE, max_size=5), st.lists(PROGRAM, max_size=5), st.sampled_from(["ssh", "agent"]))
def test_everything_that_is_written_loads(machines: list[Machine], programs: list[Program], connection: str) -> None:
    unique = list({m.name: m for m in machines}.values())
    found = Found(title="x\ny", machines=unique, programs=programs)
    addresses = {name: "10.9.9.9" for name in wanted_addresses(found) if name != "web"}
    built = build(found, Options(connection=connection), addresses)
    text = fresh(built, found.title)
    assert load_text(text.encode()).expected == built.expected
    again, summary = onto(text, "t.yaml", built)
    assert again == text and not summary.added and not summary.different
