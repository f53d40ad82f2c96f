"""The language of `/`: what passes, what is wrong with a filter and where, and what may begin with what is shown."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.model.problems import Wrong
from screens.board import Board
from screens.fields import SCHEMAS, schema_of
from screens.query import LIMIT, Bad, Query, describe, needy, parse, within
from screens.typed import Field, Schema, natural_key, parse_size, parse_span, sort_key, version_key
from tests.screens.canned import NOW, CannedSession
from tests.screens.puzzle import snapshot

ROWS: dict[str, dict[str, Any]] = {
    "a": {"name": "shop.web/0", "region": "sh", "restarts": 0, "version": "1.4.0", "started": NOW - 60, "size": 2048,
          "ports": [20001, 80], "roles": ["ci"], "ping": 0.002, "on": True, "mark": "ok", "labels": {"rack": "r1"}},
    "b": {"name": "shop.web/1", "region": "bj", "restarts": 5, "version": "1.10.2", "started": NOW - 7200, "size": 9,
          "ports": [], "roles": ["ci", "ops"], "ping": 0.150, "on": False, "mark": "drift", "labels": {}},
    "c": {"name": "shop.mail/0", "region": "bj-2", "restarts": 12, "version": "2.0.0-rc1", "started": None,
          "size": None, "ports": [443], "roles": [], "ping": None, "on": False, "mark": "failed",
          "labels": {"rack": "r2", "zone": ""}},
    "d": {"name": "Äpfel/0", "region": "", "restarts": None, "version": "", "started": NOW - 3 * 86400, "size": 5e6,
          "ports": [8080], "roles": ["x y"], "ping": 1.5, "on": True, "mark": "unknown", "labels": {"a/b": "1=2"}},
}  # fmt: skip
SCHEMA = Schema(
    (
        Field("name", lambda r: r["name"], "path"),
        Field("region", lambda r: r["region"]),
        Field("restarts", lambda r: r["restarts"], "number"),
        Field("version", lambda r: r["version"], "version"),
        Field("age", lambda r: r["started"], "moment"),
        Field("size", lambda r: r["size"], "size"),
        Field("port", lambda r: r["ports"], "numbers"),
        Field("role", lambda r: r["roles"], "many"),
        Field("ping", lambda r: r["ping"], "span", unit=0.001),
        Field("on", lambda r: r["on"], "flag"),
        Field("shown", lambda r: str(r["restarts"] or ""), "auto"),
    ),
    name=lambda r: r["name"], mark=lambda r: r["mark"], labels=lambda r: r["labels"], now=lambda: NOW,
)  # fmt: skip
HAY = {k: f"{r['name']} {r['region']} {r['version']}".lower() for k, r in ROWS.items()}


def passing(text: str) -> str:
    return "".join(parse(text, SCHEMA).passing(ROWS, ROWS, HAY))


@pytest.mark.parametrize("text,keys", [
    ("", "abcd"), ("   ", "abcd"), ("web", "ab"), ("WEB/1", "b"), ("shop bj", "bc"), ("!web", "cd"), ("!!web", "ab"),
    ("!", "abcd"), ("~sw1", "b"), ("~SHM", "c"), ("!~sw1", "acd"), ("~", "abcd"), ("/web.[01]/", "ab"),
    ("!/web/", "cd"), ("re:^shop.m", "c"), ("/mail/ bj", "c"), ("//", "abcd"), ('"shop.web/0 sh"', "a"),
    ('"web/1', "b"), ("'bj-2'", "c"), ('""', "abcd"), ("äpf", "d"), ("/a b/", ""),
    ("drift", "b"), ("!drift", "acd"), ("drift bj", "b"), ("mark=failed", "c"), ('"drift"', ""),
    ("region=bj", "b"), ("region=BJ*", "bc"), ("region!=bj", "acd"), ("!region=bj", "acd"), ("region~bj", "bc"),
    ("region!~bj", "ad"), ("region~/j$/", "b"), ('region=""', "d"), ('region!=""', "abc"), ("region==sh", "a"),
    ("restarts>3", "bc"), ("restarts>=5", "bc"), ("restarts=0", "a"), ("restarts<5", "a"), ("restarts!=5", "acd"),
    ('restarts=""', "d"), ("restarts~1", "c"), ("shown>=5", "bc"), ("shown=12", "c"),
    ("version>1.4", "bc"), ("version=1.4", "a"), ("version!=1.4", "bcd"), ("version<2", "abc"), ("version=1.*", "ab"),
    ("version>=2.0.0", ""), ("version>2.0-beta", "c"),
    ("age<2m", "a"), ("age>=2h", "bd"), ("age=2h", "b"), ("age>1d12h", "d"), ("!age<2m", "bcd"), ("age<90", "a"),
    ("size>=2K", "ad"), ("size<1k", "b"), ("size>4.5MiB", "d"), ("size=9", "b"),
    ("port=80", "a"), ("port>20000", "a"), ("port<=443", "ac"), ("port!=80", "bcd"),
    ("role=ci", "ab"), ("role!=ci", "cd"), ('role="x y"', "d"), ('role=""', "c"),
    ("ping<100", "a"), ("ping<1s", "ab"), ("ping>100ms", "bd"), ("on=yes", "ad"), ("on=no", "bc"), ("on!=yes", "bc"),
    ("label.rack=r1", "a"), ("label.rack", "ac"), ("!label.rack", "bd"), ("label.rack!=r1", "bcd"),
    ("label.zone", "c"), ('label.a/b="1=2"', "d"), ("name=web", "ab"), ("name=web/1", "b"), ("name=shop", "abc"),
    ("name=we", ""), ("restarts>3 region=bj version!=1.4 !mail", "b"),
])  # fmt: skip
def test_what_passes(text: str, keys: str) -> None:
    assert passing(text) == keys


@pytest.mark.parametrize("text,words,at", [
    ("reigon=sh", 'no field "reigon" here; did you mean "region"?', 0),
    ("web restart>3", 'did you mean "restarts"?', 4),
    ("!rest>3", 'did you mean "restarts"?', 1),
    ("xyzzy=1", "there are name region restarts", 0),
    ("restarts>", "restarts> waits for a number", 0),
    ("restarts>three", '"three" is not a number', 0),
    ("restarts>nan", "not a number", 0),
    ("age<soon", "write 500ms, 30s, 5m, 2h or 7d", 0),
    ("age<2hh", "not a length of time", 0),
    ("size>big", "write 512K", 0),
    ("on=maybe", "on is yes or no", 0),
    ("region>sh", "region knows no larger and smaller", 0),
    ("region=", "waits for a word", 0),
    ('age<""', "age< waits for an age", 0),
    ("web /sh[/", "unterminated character set at character 8", 7),
    ("/web", "waits for its closing /", 0),
    ("region~/b", "waits for its closing /", 0),
    ("/(a+)+/", "a repeat inside a repeat", 1),
    ("/(ab|c)*/", "a choice inside a repeat", 1),
    ("/a*b*c*d*/", "at most 3", 1),
    ("region=a*b*c*d*e*f", "too many *", 0),
    ("x" * (LIMIT + 1), "at most", LIMIT),
])  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(text: str, words: str, at: int) -> None:
    with pytest.raises(Bad) as caught:
        parse(text, SCHEMA)
    assert words in str(caught.value) and caught.value.at == at


def test_tables_without_marks_and_labels_say_so() -> None:
    bare = Schema((Field("name", lambda r: r["name"]),))
    assert parse("drift", bare).terms[0].kind == "part"
    with pytest.raises(Bad, match="no labels"):
        parse("label.rack=1", bare)
    assert not needy(bare) and "label.NAME" not in describe(bare) and "label.NAME" in describe(SCHEMA)
    assert needy(SCHEMA).passing(ROWS, ROWS, HAY) == ["b", "c", "d"]


def test_versions_and_names_stand_in_the_order_people_expect() -> None:
    versions = ["0.9", "1.4-rc1", "1.4", "1.4.1", "1.4.10", "1.10", "2.0a1", "2.0b2", "2.0rc1", "2.0.0", "10"]
    assert sorted(reversed(versions), key=version_key) == versions
    assert version_key("v1.4.0+build7") == version_key("1.4")
    assert sorted(["sh-10", "sh-9", "bj-1"], key=natural_key) == ["bj-1", "sh-9", "sh-10"]
    assert parse_span("1h30m") == (5400, 60) and parse_span("5", 0.001) == (0.005, 0.001)
    assert parse_size("1.5K") == 1536 == parse_size("1.5KiB")
    with pytest.raises(Wrong):
        parse_span("1h30x")


@pytest.mark.parametrize("field", SCHEMA.fields, ids=lambda f: f.name)
def test_every_field_sorts_with_values_missing(field: Field) -> None:
    key = sort_key(field)
    assert len(sorted(ROWS.values(), key=key)) == len(ROWS)


@pytest.mark.parametrize("name", SCHEMAS)
async def test_every_field_of_every_table_can_be_asked_and_sorted(name: str) -> None:
    """On the rows of a real board: no field names an attribute that rows do not have."""
    session = CannedSession()
    board = Board(lambda: NOW)
    board.load(snapshot())
    schema = schema_of(name, board)
    rows: list[Any] = {
        "overview": [*board.nodes.values(), *board.instances.values()],
        "instances": list(board.instances.values()), "hosts": list(board.hosts.values()),
        "relays": list(board.relays.values()), "actions": list(board.actions.values()),
        "naming": list(board.endpoints.values()), "artifacts": list(await session.artifact_rows()),
        "revisions": list(await session.revisions()),
    }[name]  # fmt: skip
    assert rows and len(schema.names()) == len(set(schema.names()))
    values = {"number": "1", "numbers": "1", "version": "1", "moment": "1h", "span": "1s", "size": "1K"}
    values["flag"] = "yes"
    for field in schema.fields:
        sorted(rows, key=sort_key(field))
        ops = ["=", "!=", "~"] + ([">", "<="] if field.kind in values and field.kind != "flag" else [])
        for op in ops:
            query = parse(f"{field.name}{op}{values.get(field.kind, 'a')}", schema)
            there = [query.test(row, "") for row in rows]
            back = [parse(f"!{query.text}", schema).test(row, "") for row in rows]
            assert [not b for b in back] == there
    for text in ("~a", "drift", "label.rack=a") if schema.labels is not None else ("~a",):
        assert not any(parse(f"{text} !{text}", schema).test(row, "") for row in rows)


def test_instances_inherit_region_and_labels_of_their_host() -> None:
    board = Board(lambda: NOW)
    board.load(snapshot())
    schema = schema_of("instances", board)
    found = parse("region=bj", schema).passing(board.instances, board.instances, {})
    assert found and {board.instances[k].host[:2] for k in found} == {"bj"}


# properties

WORDS = st.sampled_from([
    "web", "shop", "b", "bj", "we", "~sw", "~s", "~swb", "drift", "failed", "restarts>3", "restarts<=5", "region=bj",
    "region~b", "version>1.4", "version!=2", "age<2h", "age>1m", "label.rack", "label.rack=r1", "/web|mail/",
    "re:bj.", '"shop.web"', "on=yes", "port>100", "size<1M",
])  # fmt: skip
TERMS = st.tuples(st.booleans(), WORDS).map(lambda t: "!" * t[0] + t[1])
FILTERS = st.lists(TERMS, max_size=4).map(" ".join)


@given(st.text(st.sampled_from(string.printable + "äλ数~!/\"'=<>."), max_size=40))
def test_any_text_is_a_filter_or_a_sentence(text: str) -> None:
    try:
        query = parse(text, SCHEMA)
    except Bad as error:
        assert str(error) and 0 <= error.at <= len(text)
    else:
        found = query.passing(ROWS, ROWS, HAY)
        assert [k for k in ROWS if k in found] == found
        assert found == [k for k in ROWS if query.test(ROWS[k], HAY[k])]


@given(FILTERS, FILTERS)
def test_a_filter_that_narrows_passes_no_more(one: str, other: str) -> None:
    """Beginning with what is shown equals filtering anew."""
    first, second = parse(one, SCHEMA), parse(other, SCHEMA)
    if second.narrows(first):
        anew = second.passing(ROWS, ROWS, HAY)
        assert second.passing(first.passing(ROWS, ROWS, HAY), ROWS, HAY) == anew
    both = first.also(second)
    assert set(both.passing(ROWS, ROWS, HAY)) == (
        set(first.passing(ROWS, ROWS, HAY)) & set(second.passing(ROWS, ROWS, HAY))
    )


@given(TERMS)
def test_the_inverse_is_the_complement(term: str) -> None:
    there = set(parse(term, SCHEMA).passing(ROWS, ROWS, HAY))
    assert set(parse("!" + term, SCHEMA).passing(ROWS, ROWS, HAY)) == ROWS.keys() - there


@pytest.mark.parametrize("more,less,does", [
    ("webs", "web", True), ("web", "webs", False), ("!web", "!webs", True), ("!webs", "!web", False),
    ("web bj", "web", True), ("web", "web bj", False), ("~swb", "~sb", True), ("~sb", "~swb", False),
    ("drift", "drif", False), ("restarts>3 x", "restarts>3", True), ("age>1h x", "age>1h", False), ("x", "", True),
])  # fmt: skip
def test_what_narrows_what(more: str, less: str, does: bool) -> None:
    assert parse(more, SCHEMA).narrows(parse(less, SCHEMA)) is does


@given(st.text("abc", max_size=5), st.text("abcd", max_size=12))
def test_fuzzy_is_letters_in_their_order(part: str, text: str) -> None:
    row = {**ROWS["a"], "name": text}
    assert parse(f"~{part}", SCHEMA).test(row, "") is within(part, text)
    assert Query().test(row, "")
