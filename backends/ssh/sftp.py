"""SFTP over the kept connection: one session for one copy, as the login or as a service's user."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncssh
from asyncssh.sftp import start_sftp_client

from backends.ssh import scripts
from backends.ssh.pool import NotConnected, NotServed, opened
from cockpit.agent.shipped.copy.child import said
from cockpit.agent.tasks import CommandError

if TYPE_CHECKING:
    from backends.ssh.host import Host

OPEN = 20.0
"""Seconds for a session: before the controller gives the copy up."""
END_WAIT = 3.0
NO_SETPRIV, NO_PROGRAM = 3, 4
"""Exit codes of scripts.SFTP_AS."""
ERRNO: dict[type[asyncssh.SFTPError], int] = {
    asyncssh.SFTPNoSuchFile: errno.ENOENT, asyncssh.SFTPNoSuchPath: errno.ENOENT,
    asyncssh.SFTPPermissionDenied: errno.EACCES, asyncssh.SFTPWriteProtect: errno.EROFS,
    asyncssh.SFTPFileAlreadyExists: errno.EEXIST, asyncssh.SFTPNoSpaceOnFilesystem: errno.ENOSPC,
    asyncssh.SFTPQuotaExceeded: errno.EDQUOT, asyncssh.SFTPNotADirectory: errno.ENOTDIR,
    asyncssh.SFTPLinkLoop: errno.ELOOP, asyncssh.SFTPFileIsADirectory: errno.EISDIR,
}  # fmt: skip
"""Of these most servers, which speak version 3, say the first three; all else is `Failure`."""


class Gone(NotConnected):
    """The session ended, the connection perhaps with it."""


class User(NamedTuple):
    """Whom a copy acts as. `uid` and `gid` None: the login."""

    name: str
    uid: int | None = None
    gid: int | None = None


def os_error(e: asyncssh.SFTPError) -> OSError:
    """What the system there would have said."""
    number = ERRNO.get(type(e))
    if number is not None:
        return OSError(number, os.strerror(number))
    return OSError(errno.EIO, f"its sftp-server says only: {e.reason or type(e).__name__}")


@contextlib.contextmanager
def telling(path: str) -> Iterator[None]:
    """Errors of the far side are told as those of this path. Raises Trouble, NotConnected."""
    try:
        yield
    except (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection) as e:
        raise Gone(f"the host's sftp-server is gone: {e.reason}") from None
    except asyncssh.SFTPError as e:
        raise said(path, os_error(e)) from None
    except (asyncssh.Error, OSError) as e:
        raise Gone(str(e)) from None


@contextlib.asynccontextmanager
async def session(host: Host, user: User, what: str) -> AsyncIterator[asyncssh.SFTPClient]:
    """`what`: who wants it, for a sentence. Paths are bytes. Raises CommandError, NotConnected."""
    async with host.kept.channel(lasting=True) as conn:
        if user.uid is None:
            command, more = None, {"subsystem": "sftp"}
        else:
            command, more = scripts.command(scripts.SFTP_AS, str(user.uid), str(user.gid)), {}
        opening = asyncio.create_task(opened(conn, command, **more))
        try:
            process = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_unwanted)
            raise
        except NotServed:
            raise CommandError("unsupported", (
                "its sshd has no sftp subsystem, and without an agent files are copied through that: it needs the "
                f"line `Subsystem sftp internal-sftp` in sshd_config; until then `cockpit shell {host.name} -- cat "
                "FILE` reads one"
            )) from None
        try:
            yield await _client(host, conn, process, user, what)
        finally:
            process.close()
            with contextlib.suppress(TimeoutError, asyncssh.Error, OSError):
                async with asyncio.timeout(END_WAIT):
                    await process.wait_closed()


def _unwanted(opening: asyncio.Task[Any]) -> None:
    """What came into being when nobody waited for it any more must not hold a session of sshd."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


async def _client(host: Host, conn: Any, process: Any, user: User, what: str) -> asyncssh.SFTPClient:
    """Raises CommandError, NotConnected."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(OPEN):
            return await start_sftp_client(conn, loop, "replace", process.stdout, process.stdin, None, "strict", 3)
    except TimeoutError:
        raise CommandError("failed", f"its sftp-server said nothing within {OPEN:g} s") from None
    except (asyncssh.Error, OSError) as e:
        if conn is not host.kept.conn:
            raise NotConnected(f"the connection to {host.kept.hop} broke") from None
        why = await _why(process) or str(e)
    if process.exit_status == NO_PROGRAM:
        raise CommandError("unsupported", (
            f"{what} is {user.name}'s, and there is no program sftp-server that could act as that user (Debian has "
            f"it in openssh-sftp-server): install it, or name the file as {host.name}:/PATH, which is the login's"
        ))
    if process.exit_status == NO_SETPRIV:
        raise CommandError("unsupported", (
            f"{what} is {user.name}'s, and there is no setpriv to become that user: name the file as "
            f"{host.name}:/PATH, which is the login's"
        ))
    raise CommandError("failed", (
        f"its sftp-server does not begin: {why}. `sftp` to this host by hand shows the same; a .bashrc that prints "
        "something is the usual cause"
    ))


async def _why(process: Any) -> str:
    """The last line that it said on its way out."""
    text = b""
    with contextlib.suppress(TimeoutError, asyncssh.Error, OSError):
        async with asyncio.timeout(END_WAIT):
            text = await process.stderr.read(4096)
            await process.wait_closed()  # with its exit code
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return "".join(c for c in lines[-1] if c.isprintable())[:300] if lines else ""
