from __future__ import annotations

import pytest

from cockpit.inventory.secret import clean_argv, is_secret


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("DB_PASSWORD", "x", True), ("API_TOKEN", "x", True), ("CLIENT_SECRET", "x", True), ("SSL_KEY", "/x", True),
        ("ansible_become_pass", "x", True), ("DB_PASSWORD_FILE", "/run/x", False), ("DB_PASSWORD_FILE", "x", True),
        ("LANG", "C", False), ("DATABASE_URL", "postgres://u:p@h/d", True), ("DATABASE_URL", "postgres://h/d", False),
        ("X", "AKIAABCDEFGHIJKLMNOP", True), ("KEYBOARD", "us", False), ("COMPASS_URL", "x", False),
        ("MY_PWD", "x", True),
    ],
)  # fmt: skip
def test_names_and_values(name: str, value: str, secret: bool) -> None:
    assert is_secret(name, value) is secret


@pytest.mark.parametrize(
    ("argv", "clean", "left"),
    [
        (["run", "--port=80"], ("run", "--port=80"), []),
        (["run", "--db-password=x", "-v"], ("run", "--db-password=LEFT-OUT", "-v"), ["--db-password"]),
        (["run", "--token", "abc", "z"], ("run", "--token", "LEFT-OUT", "z"), ["--token"]),
        (["run", "--token", "--flag"], ("run", "--token", "--flag"), []),
        (["run", "--tls-key", "/etc/k.pem"], ("run", "--tls-key", "/etc/k.pem"), []),
        (["env", "DB_PASSWORD=x", "run"], ("env", "DB_PASSWORD=LEFT-OUT", "run"), ["DB_PASSWORD"]),
        (["run", "redis://:pw@h/0"], ("run", "LEFT-OUT"), ["word 2"]),
    ],
)
def test_commands(argv: list[str], clean: tuple[str, ...], left: list[str]) -> None:
    assert clean_argv(argv) == (clean, left)
