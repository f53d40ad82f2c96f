"""Expressions that could take minutes are refused; those that people write are not."""

from __future__ import annotations

import re

import pytest

from cockpit.model.problems import Wrong
from cockpit.model.regexes import checked


@pytest.mark.parametrize(
    "expression",
    ["a+b*", "(ab)+", "(a|b)+", "(?:a+){3}", "[ab]+c?", "err(or)?", r"\b5\d\d\b", "a|b|c",
     r"GET /\S+ 50[0-9]", "x{2,9}"],
)
def test_usual_ones(expression: str) -> None:
    assert isinstance(checked(expression), re.Pattern)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("(a+)+", "inside a repeat"), ("(ab|cd)+", "a choice inside"), ("(a{2})+", "inside a repeat"),
        ("((a*)b)*", "inside a repeat"), ("x(?=(a+)+)", "inside a repeat"),
        ("(a)(\\1)*", "back"),
        ("a*b*c*d*", "at most 3"), ("a{99999999999}", "too large"),
    ],
)
def test_slow_ones(expression: str, why: str) -> None:
    with pytest.raises(Wrong, match=why):
        checked(expression)


def test_what_is_no_expression_says_where() -> None:
    with pytest.raises(re.error) as e:
        checked("ab(")
    assert e.value.pos == 2
