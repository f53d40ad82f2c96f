"""Which names and values are secrets. They are named in comments, and never shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_NAME = re.compile(
    r"pass(word|wd|phrase)?$|password|passwd|passphrase|pwd$|secret|token|credential|api_?key|access_?key|private_?key|"
    r"key$|vault|\bauth$|_auth$|cookie|dsn$",
    re.IGNORECASE,
)
_FILE = re.compile(r"(file|path|dir|directory)$", re.IGNORECASE)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s@]*:[^/\s@]+@")
_BLOB = re.compile(
    r"-----BEGIN |\$ANSIBLE_VAULT|^(AKIA|ASIA)[A-Z0-9]{16}$|^gh[pousr]_|^xox[abp]-|^eyJ[\w-]+\.eyJ|^sk_live_"
)
_OPTION = re.compile(r"^(?P<name>--?[A-Za-z0-9][\w.-]*|[A-Za-z_][A-Za-z0-9_.-]*)=(?P<value>.*)$", re.DOTALL)
HIDDEN = "LEFT-OUT"
"""Stands for a word of a command that was left out."""


def secret_name(name: str) -> bool:
    """Does a variable, option or label of this name hold a secret?"""
    return bool(_NAME.search(name))


def secret_value(value: str) -> bool:
    """Does a value show by itself that it is one: a key, a URL with a password?"""
    return bool(_URL.search(value) or _BLOB.search(value))


def is_secret(name: str, value: str) -> bool:
    """By its name, unless it names a file that holds it (`DB_PASSWORD_FILE=/run/...`), or by its value."""
    if secret_value(value):
        return True
    return secret_name(name) and not (_FILE.search(name) and value.startswith("/"))


def split_env(env: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """(what may be shown, names of the secrets in order)."""
    left = [name for name, value in env.items() if is_secret(name, value)]
    return {name: value for name, value in env.items() if name not in left}, left


def clean_argv(argv: Iterable[str]) -> tuple[tuple[str, ...], list[str]]:
    """The words without secrets, and the names of the options whose values were left out.

    `--db-password=X`, `--token X`, `DB_PASSWORD=X` and URLs with a password are meant. A path stays:
    it names where a key is, and does not hold it.
    """
    out: list[str] = []
    left: list[str] = []
    pending = ""
    for word in argv:
        option = _OPTION.match(word)
        if pending and not word.startswith("-"):
            if not word.startswith("/"):
                left.append(pending)
                word = HIDDEN
            pending = ""
        elif option and secret_name(option["name"]) and option["value"] and not option["value"].startswith("/"):
            left.append(option["name"])
            word = f"{option['name']}={HIDDEN}"
        elif secret_value(word):
            left.append(option["name"] if option else f"word {len(out) + 1}")
            word = f"{option['name']}={HIDDEN}" if option else HIDDEN
        else:
            pending = word if word.startswith("-") and "=" not in word and secret_name(word) else ""
        out.append(word)
    return tuple(out), left


def how_to_give(name: str) -> str:
    """What to write for an environment variable that was left out."""
    how = f"secrets: {{{name}: {{file: PATH}}}}"
    return f"{name} was left out (a secret): put it into a file on the host, and write {how}"
