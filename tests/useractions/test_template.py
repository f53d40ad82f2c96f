"""Argument lists over a selection: a value is one argument, whatever is in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.useractions.template import Unfilled, fill, problem_of

WEB = [{"id": f"shop.web/{n}", "host": f"h{n % 2}", "port": str(8000 + n), "port:admin": "9"} for n in range(3)]


def test_once_for_each() -> None:
    assert fill(["curl", "http://{host}:{port}/", "{{x}}"], WEB[:2], {}) == [
        (("curl", "http://h0:8000/", "{x}"), (0,)), (("curl", "http://h1:8001/", "{x}"), (1,))]
    assert fill(["uptime"], WEB[:2], {}) == [(("uptime",), (0,)), (("uptime",), (1,))]
    assert fill(["x"], [], {}) == []


def test_once_for_all_of_them() -> None:
    assert fill(["mtr", "{host*}", "-c", "{count}"], WEB, {"count": "5"}) == [
        (("mtr", "h0", "h1", "-c", "5"), (0, 1, 2))]
    with pytest.raises(Unfilled, match="differs"):
        fill(["x", "{id*}", "{port}"], WEB, {})
    assert fill(["x", "{id*}", "{port:admin}"], WEB, {})[0][0][-1] == "9"


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(Unfilled, match="shop.web/0 has no pid"):
        fill(["kill", "{pid}"], WEB, {})
    with pytest.raises(Unfilled, match="no metrics port"):
        fill(["x", "{port:metrics}"], WEB, {})


def test_words_are_checked() -> None:
    assert problem_of("{host}", ["host"]) is None and problem_of("{{host}}", []) is None
    assert problem_of("{port:http}", ["port"]) is None
    assert problem_of("{host:x}", ["host"]) is not None


@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), min_size=1))
def test_a_value_stays_one_argument(value: str) -> None:
    (argv, _), = fill(["x", "{id}", "a{id}b"], [{"id": value}], {})
    assert argv == ("x", value, f"a{value}b")
