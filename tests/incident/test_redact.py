"""What is taken out of a bundle, and what stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.incident.redact import Redactor

GONE = [
    ("password=hunter22", "hunter22"), ("DB_PASSWORD: 'two words'", "two words"), ("--api-key abcdefg1", "abcdefg1"),
    ('{"access_token": "tok-4711-abc"}', "tok-4711-abc"), ("postgres://app:s3cr3t!@db/x", "s3cr3t!"),
    ("GET https://x/?sig=abc123&access_token=zzz999 200", "zzz999"), ("redis://:onlypass@10.0.0.1:6379", "onlypass"),
    ("Authorization: Bearer abc.def.ghi", "abc.def.ghi"), ("Cookie: sid=9f8e7d6c; theme=dark", "9f8e7d6c"),
    ("X-Api-Key: 0123456789", "0123456789"), ("AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
    ("use ghp_16C7e42F292c6912E7710c838347Ae178B4a", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "eyJzdWIiOiIxIn0"),
    ("-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----", "MHcCAQEE"),
    ("-----BEGIN PRIVATE KEY-----\nno end MHcCAQEE", "MHcCAQEE"),
    ("join with COCKPIT1-eyJpZCI6ImFiYyJ9", "eyJpZCI6ImFiYyJ9"),
    ("aws wJalrXUtnFEMI7K7MDENG3bPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMI7K7MDENG3bPxRfiCYEXAMPLEKEY"),
    ("mail jo.doe@example.com", "jo.doe"), ("xoxb-1234-5678-abcdef", "5678-abcdef"),
    ("DB_PASSWORD_PROD=gh12", "gh12"), ('"passwordHash": "aa11"', "aa11"), ("token2=bb22", "bb22"),
    ("client_secret => qwerty12", "qwerty12"),
]  # fmt: skip
STAYS = [
    "sudoku/3 did not become healthy in 20 s: connect 127.0.2.4:20013 refused (exit 1 three times)",
    "by li@jump-1", "9f2c41d077ab01ff00aa11bb22cc33dd9f2c41d077ab01ff00aa11bb22cc33dd", "puzzle.web/0 on sh-1",
    "041db4e1-5ae3-47d5-96dc-b731b2a683ba", "2026-11-21T15:56:07.123+00:00 1 stdout listens on 127.0.1.2:20773",
    "http://127.0.1.1:8080/health?verbose=1", "DB_PASSWORD_FILE=/run/secrets/db", "#118 deploy sudoku 1.2.0 done",
    "signal=TERM author=li authority: ok", "key to screen p99 is 14 ms", "the token of sh-4 was withdrawn",
]  # fmt: skip


@pytest.mark.parametrize(("text", "secret"), GONE)
def test_secrets_go(text: str, secret: str) -> None:
    cleaned = Redactor().text(f"before {text} behind")
    assert secret not in cleaned and cleaned.startswith("before")


@pytest.mark.parametrize("text", STAYS)
def test_what_helps_stays(text: str) -> None:
    assert Redactor().text(text) == text


def test_names_decide_in_data() -> None:
    data = {
        "env": {"DB_PASSWORD": "alpha-one", "MODE": "fast", "TOKEN_FILE": "/run/t"},
        "headers": {"X-Anything": "alpha-two"}, "secrets": {"PIN": {"file": "/run/alpha-three"}},
        "argv": ["serve", "--token", "alpha-four", "--port", "1"],
        "changes": [{"path": ["services", "web", "env", "API_KEY"], "old": "alpha-five", "new": "alpha-six"}],
        "diffs": [{"field": "password", "expected": "alpha-seven", "actual": "alpha-eight"}],
        "vars": [{"name": "SECRET", "value": "alpha-nine"}], "key": "unhealthy|web/0", "count": 3,
    }  # fmt: skip
    redactor = Redactor()
    made = redactor.data(data)
    assert "alpha" not in str(made)
    assert made["env"]["MODE"] == "fast" and made["env"]["TOKEN_FILE"] == "/run/t"
    assert made["key"] == "unhealthy|web/0" and made["count"] == 3 and made["argv"][3:] == ["--port", "1"]
    assert list(made["secrets"]) == ["PIN"] and list(made["headers"]) == ["X-Anything"]


def test_a_value_that_is_secret_somewhere_is_secret_everywhere() -> None:
    redactor = Redactor()
    redactor.learn({"env": {"PGPASSWORD": "correct horse", "VAULT_PIN": "1234", "AUTH": "enabled"}})
    redactor.learn("started with --password tr0ub4dor")
    redactor.learn("the token: expired")
    made = redactor.lines(["login with correct horse failed", "tr0ub4dor?", "code 1234 enabled, expired"])
    assert "horse" not in made[0] and "tr0ub4dor" not in made[1]
    assert made[2] == "code 1234 enabled, expired", "short and ordinary words are no secrets by themselves"


def test_the_same_address_is_the_same_person() -> None:
    made = Redactor().lines(["a@b.example.com, c@d.org", "A@b.example.com"])
    assert made == ["[e-mail 1], [e-mail 2]", "[e-mail 1]"]


@given(st.text(max_size=300))
def test_any_text_can_be_cleaned_and_twice_is_once(text: str) -> None:
    once = Redactor().text(text)
    assert "PRIVATE KEY-----" not in once or "BEGIN" not in once
    assert Redactor().text(once).count("[redacted") >= once.count("[redacted") - 1
