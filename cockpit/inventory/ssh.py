"""One SSH connection from a command: the user's ssh_config and known_hosts, secrets asked on the terminal."""

from __future__ import annotations

import getpass
import re
import sys
from collections.abc import Callable
from typing import Any

LIMIT = 20.0
"""Seconds for a connection and its handshake; asking does not count."""
KEEPALIVE = 5.0
"""Seconds between two signs of life; after three without an answer the connection is lost."""
_TARGET = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.@-]*)@)?"
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9_][A-Za-z0-9_.-]*))(?::(?P<port>[0-9]{1,5}))?"
)


class BadTarget(ValueError):
    """The text is not `[USER@]HOST[:PORT]`."""


class NoEntry(ConnectionError):
    """The host cannot be entered; the sentence says what to do."""


class Target:
    """`[user@]host[:port]`; a name may be an alias of ssh_config."""

    def __init__(self, text: str) -> None:
        found = _TARGET.fullmatch(text)
        if not found or (found["port"] and not 1 <= int(found["port"]) <= 65535):
            raise BadTarget(f'"{text[:60]}" is not [USER@]HOST[:PORT]')
        self.text = text
        self.host: str = found["host"] or found["six"]
        self.user: str = found["user"] or ""
        self.port = int(found["port"]) if found["port"] else 0


Ask = Callable[[str], str]


class Asker:
    """Asks for passwords and codes on the terminal, as long as that is ours.

    A password that was taken is kept in memory for the next connection; a code is never asked twice
    behind the screen's back.
    """

    def __init__(self, ask: Ask | None = None) -> None:
        self.ask = ask or getpass.getpass
        self.open = ask is not None or sys.stdin.isatty()
        self.known: dict[str, str] = {}
        self.used: set[str] = set()
        self.refused = ""

    def begin(self) -> None:
        """A new connection is about to be made."""
        self.used = set()
        self.refused = ""

    def answer(self, prompt: str, key: str) -> str | None:
        """What to give for a prompt: from memory once, else from the terminal; None when nobody can say."""
        if key in self.known and key not in self.used:
            self.used.add(key)
            return self.known[key]
        if not self.open:
            self.refused = prompt
            return None
        given = self.ask(prompt)
        if "password" in key.lower() or "passphrase" in key.lower():
            self.known[key] = given
            self.used.add(key)
        return given


async def enter(target: Target, asker: Asker, *, tunnel: Any = None) -> Any:
    """An open `asyncssh.SSHClientConnection`, through the one to its jump host. Raises NoEntry."""
    import asyncio

    import asyncssh

    limit = asyncio.timeout(LIMIT)

    async def ask(prompt: str, key: str) -> str | None:
        """The clock stands while somebody types."""
        limit.reschedule(None)
        try:
            return await asyncio.to_thread(asker.answer, prompt, key)
        finally:
            limit.reschedule(asyncio.get_running_loop().time() + LIMIT)

    class Client(asyncssh.SSHClient):
        async def password_auth_requested(self) -> str | None:
            return await ask(f"{target.text}'s password: ", f"password of {target.text}")

        async def kbdint_auth_requested(self) -> str | None:
            return ""

        async def kbdint_challenge_received(self, name: str, instructions: str, lang: str, prompts: Any) -> Any:
            answers = []
            for text, _ in prompts:
                shown = _clean(f"{target.text}: {text}")
                given = await ask(shown, f"{target.text} {text}")
                if given is None:
                    return None
                answers.append(given)
            return answers

    options: dict[str, Any] = {"login_timeout": 0, "keepalive_interval": KEEPALIVE}
    if target.user:
        options["username"] = target.user
    if target.port:
        options["port"] = target.port
    if tunnel is not None:
        options["tunnel"] = tunnel
    asker.begin()
    try:
        async with limit:
            return await asyncssh.connect(target.host, client_factory=Client, **options)
    except asyncssh.HostKeyNotVerifiable:
        raise NoEntry(
            f"the key of {target.text} is not in known_hosts, or it changed: compare it, and enter once by "
            f"ssh {target.text}"
        ) from None
    except asyncssh.PermissionDenied:
        if asker.refused:
            text = f"{target.text} asks again ({_clean(asker.refused).strip(': ')}): leave and attach anew to answer"
            raise NoEntry(text if not asker.open else f"{target.text} lets nobody in") from None
        raise NoEntry(f"{target.text} does not let us in: no key, password or code was taken") from None
    except asyncssh.ConfigParseError as e:
        raise NoEntry(f"ssh_config: {e}") from None
    except TimeoutError:
        raise NoEntry(f"{target.text} did not answer in {LIMIT:.0f} s") from None
    except (OSError, asyncssh.Error) as e:
        raise NoEntry(f"{target.text} cannot be entered by SSH: {_clean(str(e)) or type(e).__name__}") from None


def _clean(text: str) -> str:
    """A server's words without control characters."""
    return "".join(c if c.isprintable() else " " for c in text)[:300]
