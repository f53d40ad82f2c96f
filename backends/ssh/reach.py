"""How one machine is entered: hops, options from the user's ssh_config, host keys, and errors in sentences."""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import asyncssh

from backends.ssh.prompts import Prompts

CONNECT = 15.0
LOGIN = 120.0
KEEPALIVE = 5.0
KEEPALIVES = 3
HOP = re.compile(r"(?:([^@\s]+)@)?(\[[0-9A-Fa-f:.%]+\]|[^:@\s\[\]]+)(?::([0-9]{1,5}))?")
PASSWORDS = re.compile(r"pass(word|phrase)", re.IGNORECASE)


class Hop(NamedTuple):
    """Port 0 and an empty user: as ssh_config says."""

    address: str
    port: int = 0
    user: str = ""

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        return f"{user}{self.address}" + (f":{self.port}" if self.port not in (0, 22) else "")


Hops = tuple[Hop, ...]


class ReachError(Exception):
    """Why a machine cannot be entered, in a sentence."""


def parse_hop(text: str) -> Hop:
    """`[user@]host[:port]`. Raises ReachError."""
    match = HOP.fullmatch(text)
    if match is None or (match[3] and not 0 < int(match[3]) < 65536):
        raise ReachError(f"jump {text!r:.80} is not [user@]host[:port]")
    return Hop(match[2].strip("[]"), int(match[3] or 0), match[1] or "")


def hops_of(ssh: dict[str, Any], address: str) -> Hops:
    """From the topology's `ssh` of a host, whose own address is `address`. Raises ReachError."""
    last = Hop(str(ssh.get("address") or address), int(ssh.get("port") or 0), str(ssh.get("user") or ""))
    if last.port == 22:
        last = last._replace(port=0)  # the default: ssh_config may know better
    if not last.address:
        raise ReachError("it has no address")
    return (*(parse_hop(str(j)) for j in ssh.get("jump") or ()), last)


@dataclass(frozen=True)
class Settings:
    config: tuple[str, ...] = ()
    """Files in ssh_config's format; empty: ~/.ssh/config when it is there."""

    def files(self) -> list[str]:
        if self.config:
            return list(self.config)
        own = Path("~/.ssh/config").expanduser()
        return [str(own)] if own.is_file() else []


class Client(asyncssh.SSHClient):
    """Asks for what a login wants. A remembered answer is given once; when it is asked again it was wrong."""

    def __init__(self, prompts: Prompts, host: str, hop: Hop) -> None:
        self._prompts = prompts
        self._host = host
        self._who = str(hop)
        self._tries = 0
        self._challenged = True

    async def password_auth_requested(self) -> str | None:
        return await self._ask("Password", secret=True, remember=True)

    def kbdint_auth_requested(self) -> str | None:
        """None: no further try. It is asked until then, also by servers that have no question."""
        challenged, self._challenged = self._challenged, False
        return "" if challenged and self._tries < 3 else None

    async def kbdint_challenge_received(  # type: ignore[override]  # asyncssh awaits it
        self, name: str, instructions: str, lang: str, prompts: list[tuple[str, bool]]
    ) -> list[str] | None:
        self._challenged = bool(prompts)
        answers = []
        for text, echo in prompts[:8]:
            remember = not echo and PASSWORDS.search(text) is not None
            asked = " ".join(part for part in (instructions.strip(), text.strip()) if part)
            answer = await self._ask(asked, secret=not echo, remember=remember)
            if answer is None:
                return None
            answers.append(answer)
        return answers

    async def _ask(self, text: str, *, secret: bool, remember: bool) -> str | None:
        if remember:
            if self._tries:
                self._prompts.wrong(self._who)
            self._tries += 1
            if self._tries > 3:
                return None
        clean = "".join(c for c in text if c.isprintable())
        return await self._prompts.ask(
            self._host, self._who, f"{self._who}: {clean}", secret=secret, remember=remember
        )


async def connect(
    hop: Hop, tunnel: asyncssh.SSHClientConnection | None, settings: Settings, prompts: Prompts, host: str
) -> asyncssh.SSHClientConnection:
    """Raises ReachError."""

    async def passphrase(file: Any) -> str:
        name = os.fspath(file)
        return await prompts.ask(host, f"key {name}", f"Passphrase of {name}", secret=True, remember=True) or ""

    more: dict[str, Any] = {"port": hop.port} if hop.port else {}
    if hop.user:
        more["username"] = hop.user
    if os.environ.get("SSH_AUTH_SOCK"):
        more["ignore_encrypted"] = True  # the agent has them, or nobody will be asked
    else:
        more["passphrase"] = passphrase
    try:
        options = await asyncssh.SSHClientConnectionOptions.construct(
            None, config=settings.files(), host=hop.address, keepalive_interval=KEEPALIVE,
            keepalive_count_max=KEEPALIVES, connect_timeout=CONNECT, login_timeout=LOGIN,
            client_factory=lambda: Client(prompts, host, hop), **more,
        )
        if options.known_hosts is None:
            raise ReachError(f"{hop}: ssh_config says `UserKnownHostsFile none`, and host keys must be checked")
        return await asyncssh.connect(hop.address, options=options, **({"tunnel": tunnel} if tunnel else {}))
    except asyncssh.HostKeyNotVerifiable:
        raise ReachError(_key_error(hop, options, bool(tunnel))) from None
    except (asyncssh.PermissionDenied, asyncssh.ProtocolError) as e:
        if not isinstance(e, asyncssh.PermissionDenied) and "authentication" not in e.reason:
            raise ReachError(f"{hop}: SSH: {e.reason}") from None
        prompts.wrong(str(hop))
        at = f"{hop.user}@{hop.address}" if hop.user else hop.address
        raise ReachError(
            f"{hop}: no login: the server takes none of our keys, and no password or second factor that was "
            f"given{_no_bcrypt()}; try `ssh {at}` here as the controller's user"
        ) from None
    except asyncssh.ChannelOpenError as e:
        raise ReachError(f"{hop}: the jump host before it cannot reach it: {e.reason}") from None
    except (asyncssh.KeyImportError, asyncssh.ConfigParseError) as e:
        raise ReachError(f"{hop}: {e}") from None
    except asyncssh.Error as e:
        raise ReachError(f"{hop}: SSH: {e.reason}") from None
    except TimeoutError:
        raise ReachError(f"{hop}: no answer in {CONNECT:g} s") from None
    except OSError as e:
        raise ReachError(f"{hop}: {e.strerror or e}") from None
    except ValueError as e:
        raise ReachError(f"{hop}: {e}") from None


def _no_bcrypt() -> str:
    """Without it keys with a passphrase in OpenSSH's own format are passed over."""
    if importlib.util.find_spec("bcrypt") is not None:
        return ""
    return " (keys with a passphrase need the Python package bcrypt here, or an ssh-agent)"


def _key_error(hop: Hop, options: asyncssh.SSHClientConnectionOptions, jumped: bool) -> str:
    """Unknown or changed, in which file, and what shows the fingerprint."""
    given = options.known_hosts
    files = [str(f) for f in given if isinstance(f, (str, os.PathLike))] if isinstance(given, list) else []
    files = files or [str(Path("~/.ssh/known_hosts").expanduser())]
    port = options.port if isinstance(options.port, int) else 22
    alias = options.host_key_alias or options.host or hop.address
    known = False
    for file in files:
        try:
            found = asyncssh.read_known_hosts(file).match(alias, "", port)
        except (OSError, ValueError):
            continue
        known = known or bool(found[0])
    name = alias if port == 22 else f"[{alias}]:{port}"
    where = " on the jump host" if jumped else ""
    look = f"ssh-keyscan -p {port} {options.host or hop.address} | ssh-keygen -lf -"
    if known:
        return (
            f"{hop}: THE HOST KEY HAS CHANGED: it is not the one of {name} in {files[0]}. See its fingerprint with "
            f"`{look}`{where}; when the machine was really set up anew: ssh-keygen -R '{name}' -f {files[0]}"
        )
    return (
        f"{hop}: its host key is not in {files[0]}. See the fingerprint with `{look}`{where}, compare it, and "
        f"add the key as `{name}`"
    )
