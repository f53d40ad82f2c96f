"""Orders that are mended are those that would be made anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from screens.typed import Field, Schema
from screens.widgets.columns import Column, chosen, place, presets
from screens.widgets.news import FOR, News, direction
from screens.widgets.shelf import Shelf


@dataclass(frozen=True)
class Row:
    name: str
    host: str
    count: int


COLUMNS = [
    Column("name", "NAME", lambda r: (r.name, "text")),
    Column("host", "HOST", lambda r: (r.host, "muted"), leave=1),
    Column("count", "COUNT", lambda r: (str(r.count), "muted"), right=True, leave=4, amount=True,
           sort=lambda r: r.count),
    Column("pid", "PID", lambda r: (str(r.count), "muted"), leave=9, off=True),
]
SCHEMA = Schema(
    (Field("host", lambda r: r.host), Field("count", lambda r: r.count, "number")), name=lambda r: r.name,
    mark=lambda r: "drift" if r.count > 7 else "ok",
)  # fmt: skip


def shelf(count: int = 0) -> Shelf[Row]:
    made: Shelf[Row] = Shelf(COLUMNS, lambda r: f"{r.name} {r.host}")
    made.schema = SCHEMA
    made.put({f"r{n}": Row(f"r{n}", f"h{n % 3}", n % 10) for n in range(count)})
    made.took_over(made.arranged())
    return made


def settle(of: Shelf[Row]) -> None:
    of.took_over(of.settled())


KEYS = st.integers(0, 14).map(lambda n: f"r{n}")
NEW = st.tuples(st.sampled_from(["h0", "h1", "h2"]), st.integers(0, 9))
STEP = st.one_of(
    st.tuples(st.just("change"), KEYS, NEW), st.tuples(st.just("go"), KEYS),
    st.tuples(st.just("settle")), st.tuples(st.just("tail")),
    st.tuples(st.just("filter"), st.sampled_from(["", "h1", "count>4", "drift", "!h1", "~r1 h", "h1 count<8"])),
    st.tuples(st.just("sort"), st.sampled_from(["", "count", "host", "name"]), st.booleans()),
    st.tuples(st.just("mark"), KEYS), st.tuples(st.just("only"), st.booleans(), st.booleans()),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(STEP, max_size=30))
def test_a_mended_order_is_the_one_made_anew(steps: list[Any]) -> None:
    of = shelf(8)
    for what, *args in steps:
        if what == "change":
            key, (host, count) = args
            of.change(key, Row(key, host, count))
        elif what == "go":
            of.change(args[0], None)
        elif what == "tail":
            tail = of.tail()
            if tail is not None:
                of.append(tail)
        elif what == "settle":
            settle(of)
        elif what == "mark":
            if args[0] in of.rows:
                settle(of)
                of.marked ^= {args[0]} & of.rows.keys()
                of.took_over(of.arranged())
        else:
            settle(of)
            if what == "filter":
                query = of.asked(args[0])
                narrower = of.narrows(query)
                of.sieve = query
                of.compose_filter()
                of.took_over(of._passing(of.order) if narrower else of.arranged())
            elif what == "sort":
                of.sort_by, of.descending = args
                of.took_over(of.arranged())
            else:
                of.only_needy, of.only_marked = args
                of.compose_filter()
                of.took_over(of.arranged())
            assert of.order == of.arranged()
        assert not of.waiting & set(of.order)
    settle(of)
    assert of.order == of.arranged()
    assert of._seen is None or of._seen == set(of.order)
    assert of.marked <= of.rows.keys() and not of.gone and not of.waiting


def test_few_changes_among_many_rows_test_and_sort_only_themselves() -> None:
    asked: list[str] = []

    def count(row: Row) -> int:
        asked.append(row.name)
        return row.count

    of: Shelf[Row] = Shelf([COLUMNS[0], Column("count", "C", lambda r: ("", "text"), sort=count)], lambda r: r.name)
    of.put({f"r{n:05}": Row(f"r{n:05}", "h", n) for n in range(20_000)})
    of.sort_by = "count"
    of.took_over(of.arranged())
    asked.clear()
    for n in range(10):
        of.change(f"r{n:05}", Row(f"r{n:05}", "h", 10_000 + n))
    settle(of)
    assert len(asked) < 10 * 2 * 40
    assert of.order == of.arranged()


def test_rows_found_in_slices_are_those_found_at_once() -> None:
    of = shelf(5000)
    for text in ("~r12", "count>4 h1", "/r.3/", "h2 !r1"):
        of.sieve = of.asked(text)
        of.compose_filter()
        steps = of.sifted(list(of.rows))
        done: list[float] = []
        while True:
            try:
                done.append(next(steps))
            except StopIteration as end:
                found = end.value
                break
        assert len(done) == 10 and done == sorted(done)
        assert found == of._passing(of.rows)


def test_chosen_columns_and_presets() -> None:
    assert [c.id for c in chosen(COLUMNS, None)] == ["name", "host", "count"]
    assert [c.id for c in chosen(COLUMNS, ["pid", "nonsense", "name", "count", "pid"])] == ["name", "pid", "count"]
    assert presets(COLUMNS) == {
        "narrow": ["name", "host"], "usual": ["name", "host", "count"], "all": ["name", "host", "count", "pid"],
    }  # fmt: skip
    assert [c.id for c, _ in place(chosen(COLUMNS, ["pid"]), {}, 80)] == ["name", "pid"]


def test_what_changed_a_moment_ago() -> None:
    news = News()
    columns = COLUMNS[:3]

    def cells(row: Row) -> list[tuple[str, str]]:
        return [c.cell(row) for c in columns]

    news.note("a", columns, cells(Row("a", "h1", 1)), cells(Row("other", "h2", 3)), 0.0)
    assert news.sign("a", "name") == "" and news.sign("a", "host") == "changed" and news.sign("a", "count") == "up"
    news.note("a", columns, cells(Row("a", "h2", 3)), cells(Row("a", "h2", 2)), FOR / 2)
    assert news.sign("a", "count") == "down"
    news.note("b", columns, cells(Row("b", "h2", 3)), cells(Row("b", "h2", 3)), 0.0)
    assert news.sign("b", "count") == ""
    assert news.expire(FOR - 1) == []
    assert news.expire(FOR) == ["a"] and news.sign("a", "host") == "" and news.sign("a", "count") == "down"
    assert news.expire(FOR * 2) == ["a"] and news.expire(FOR * 3) == []
    assert direction(columns[2], "", "3") == "up" and direction(columns[2], "-", "3") == "changed"
    assert direction(columns[1], "3", "4") == "changed"
