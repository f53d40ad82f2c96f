"""A session on a controller of another machine, by SSH.

The far socket appears as a socket in a private directory here. When the connection is lost, the next
question makes it anew; passwords that were given are remembered for that, in memory.
"""

from __future__ import annotations

import contextlib
import posixpath
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Any

from cockpit.cli.common import BAD, NO_ANSWER, Fail
from cockpit.inventory.ssh import Asker, Target, enter
from cockpit.session.client import RemoteSession

VIEW, CONTROL = "view.sock", "control.sock"
_FIND = (
    'for d in "$COCKPIT_STATE" "${XDG_STATE_HOME:-$HOME/.local/state}"/cockpit/*; do '
    '[ -S "$d/view.sock" ] && printf "%s\\n" "$d"; done; exit 0'
)
_WHY = (
    'if [ ! -e "$1" ]; then echo missing; elif [ ! -S "$1" ]; then echo other; '
    'elif [ ! -w "$1" ]; then echo denied; else echo silent; fi'
)


class SshSession(RemoteSession):
    """A RemoteSession whose controller is behind SSH. `connect` makes the way, again when it broke."""

    def __init__(
        self, target: Target, *, state: str = "", socket: str = "", view: bool = True, read_only: str = "",
        asker: Asker | None = None,
    ) -> None:  # fmt: skip
        super().__init__(Path(target.text), read_only=read_only)
        self.directory: Path | None = None
        """Private (0700), as long as there is a connection; the far socket appears in it."""
        self.target = target
        self.asker = asker or Asker()
        self.state, self.socket, self.view = state, socket, view
        self.far = ""
        """The socket's path there, once it is known."""
        self.connection: Any = None
        self._listener: Any = None

    async def connect(self) -> None:
        """Raises ConnectionError with a sentence, Fail for what only other words can mend."""
        if self._writer is not None:
            return
        try:
            if self.connection is None or self.connection.is_closed():
                await self._way()
            await self._probe()
            await super().connect()
        except BaseException:
            await self._leave()
            raise

    async def close(self) -> None:
        await super().close()
        await self._leave()

    async def _way(self) -> None:
        await self._leave()
        self.connection = await enter(self.target, self.asker)
        if not self.far:
            self.far = await self._find()
        self.directory = Path(tempfile.mkdtemp(prefix="cockpit-ssh-"))
        self.path = self.directory / "far.sock"
        self._listener = await self.connection.forward_local_path(str(self.path), self.far)

    async def _leave(self) -> None:
        connection, listener, directory = self.connection, self._listener, self.directory
        self.connection = self._listener = self.directory = None
        if listener is not None:
            listener.close()
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)
        if connection is not None:
            connection.abort()
            with contextlib.suppress(Exception):
                await connection.wait_closed()

    async def _find(self) -> str:
        """The socket's path there. Raises Fail when it is not one alone."""
        name = VIEW if self.view else CONTROL
        if self.socket:
            return self.socket
        if self.state:
            return posixpath.join(self.state, name)
        found = (await self._run(_FIND)).splitlines()
        if len(found) == 1:
            return posixpath.join(found[0], name)
        if found:
            raise Fail(BAD, f"several clusters run on {self.target.text}: say which with --state {found[0]}")
        raise Fail(NO_ANSWER, f"no running cluster was found on {self.target.text}: say where with --state DIR")

    async def _probe(self) -> None:
        """One connection to the far socket, so that what is wrong has a sentence."""
        import asyncssh

        where = f"{self.far} on {self.target.text}"
        try:
            _, writer = await self.connection.open_unix_connection(self.far)
            writer.close()
        except asyncssh.ChannelOpenError as e:
            why = (await self._run(_WHY, self.far)).strip()
            hint = "" if self.view else "; the view-only one may be: --read-only"
            sentences = {
                "missing": f"there is no {where}: is the controller running?",
                "other": f"{where} is no socket",
                "denied": f"{where} is not open to this user{hint}",
                "silent": f"no controller answers on {where}",
            }
            if e.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
                why = "its sshd does not allow it (AllowStreamLocalForwarding)" if why == "silent" else why
            raise ConnectionError(sentences.get(why, f"{where}: {why or e.reason}")) from None
        except (OSError, asyncssh.Error) as e:
            raise ConnectionError(f"the connection to {self.target.text} was lost: {e}") from None

    async def _run(self, script: str, *words: str) -> str:
        import asyncssh

        try:
            done = await self.connection.run(shlex.join(["sh", "-c", script, "sh", *words]), timeout=20)
        except (OSError, TimeoutError, asyncssh.Error) as e:
            raise ConnectionError(f"{self.target.text}: {e}") from None
        return str(done.stdout or "")[:65536]

    def _drop(self, error: ConnectionError) -> None:
        if str(error) != "closed":
            lost = self.connection is None or self.connection.is_closed()
            what = "the SSH connection to" if lost else "the controller on"
            error = ConnectionError(f"{what} {self.target.text} was lost")
        super()._drop(error)
