"""Sessions on a controller behind a real sshd."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, ClassVar

import asyncssh
import pytest

from cockpit.cli.attaching import checked, far_session
from cockpit.cli.common import Fail
from cockpit.cli.far import SshSession
from cockpit.cli.main import main
from cockpit.inventory.ssh import Asker, Target
from cockpit.plan.steps import Intent, Refused
from tests.helpers import until
from tests.inventory.sshd import PROGRAM, Sshd, sshd
from tests.session.engine import Engine, House


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    assert PROGRAM, "the Debian package openssh-server is needed"
    with sshd(tmp_path_factory.mktemp("sshd")) as made:
        yield made


@pytest.fixture(autouse=True)
def home(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(server.home))


@pytest.fixture
async def house(short_dir: Path) -> AsyncIterator[House]:
    Engine.open.clear()
    made = House(short_dir)
    await made.start()
    yield made
    assert made.server is not None
    await made.server.stop()


def options(**given: object) -> argparse.Namespace:
    base = {"ssh": None, "state": None, "socket": None, "control": False, "read_only": False}
    return argparse.Namespace(**(base | given))


async def test_the_view_socket_there(server: Sshd, house: House) -> None:
    session = far_session(options(ssh=server.target, state=str(house.directory)), view=True)
    await session.connect()
    directory = session.directory
    assert directory is not None and stat.S_IMODE(directory.stat().st_mode) == 0o700
    try:
        assert session.who.role == "viewer" and session.who.read_only
        assert (await session.snapshot()).head is not None
        with pytest.raises(Refused):
            await session.submit(Intent(verb="deploy"))
    finally:
        await session.close()
    assert not directory.exists()
    await until(lambda: not server.children(), what="the connection there ended")


async def test_the_control_socket_there_read_only_or_not(server: Sshd, house: House) -> None:
    for read_only, role in ((False, "operator"), (True, "viewer")):
        given = options(ssh=server.target, state=str(house.directory), read_only=read_only)
        session = far_session(given, view=False)
        await session.connect()
        assert session.who.role == role and bool(session.who.read_only) is read_only
        await session.close()


async def test_a_lost_connection_is_said_and_made_anew(server: Sshd, house: House) -> None:
    session = SshSession(Target(server.target), socket=str(house.directory / "view.sock"))
    await session.connect()
    try:
        lost: list[str] = []

        async def follow() -> None:
            try:
                async for _ in session.changes():
                    pass
            except ConnectionError as e:
                lost.append(str(e))

        following = asyncio.create_task(follow())
        await session.snapshot()
        for pid in server.children():
            os.kill(pid, signal.SIGKILL)
        await until(lambda: lost)
        assert server.target in lost[0] and "lost" in lost[0]
        assert (await session.snapshot()).head is not None  # by a new connection
        await following
    finally:
        await session.close()


async def test_the_controller_there_goes_and_comes_back(server: Sshd, house: House) -> None:
    session = SshSession(Target(server.target), state=str(house.directory))
    await session.connect()
    try:
        assert house.server is not None
        await house.server.stop()

        async def gone() -> bool:
            try:
                await session.snapshot()
            except ConnectionError as e:
                return "is the controller running" in str(e)
            return False

        await until(gone)
        await house.start()
        assert (await session.snapshot()).head is not None
    finally:
        await session.close()


class Gate(asyncssh.SSHServer):
    """Wants a password, then (by keyboard-interactive) a code that is another one each time."""

    codes: ClassVar[list[str]] = []
    both = False

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return False

    def password_auth_supported(self) -> bool:
        return not self.both

    def validate_password(self, username: str, password: str) -> bool:
        return password == "right"

    def kbdint_auth_supported(self) -> bool:
        return self.both

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        return "", "", "", [("Password: ", False), ("Code: ", False)]

    def validate_kbdint_response(self, username: str, responses: Any) -> bool:
        return list(responses) == ["right", self.codes.pop(0)]

    def unix_connection_requested(self, dest_path: str) -> bool:
        return True


@pytest.mark.parametrize("both", [False, True])
async def test_what_is_asked_and_what_is_remembered(
    both: bool, house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    connections: list[asyncssh.SSHServerConnection] = []

    class Own(Gate):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            connections.append(conn)

    monkeypatch.setattr(Gate, "both", both)
    monkeypatch.setattr(Gate, "codes", ["one", "two"])
    listener = await asyncssh.listen("127.0.0.1", 0, server_host_keys=[key], server_factory=Own)
    port = listener.get_port()
    (tmp_path / ".ssh").mkdir()
    public = key.export_public_key().decode()
    (tmp_path / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}")
    monkeypatch.setenv("HOME", str(tmp_path))
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return "one" if "Code" in prompt else "right"

    target = Target(f"me@127.0.0.1:{port}")
    session = SshSession(target, socket=str(house.directory / "view.sock"), asker=Asker(ask))
    try:
        await session.connect()
        assert (await session.snapshot()).head is not None
        word = f"me@127.0.0.1:{port}"
        assert asked == ([f"{word}: Password: ", f"{word}: Code: "] if both else [f"{word}'s password: "])
        session.asker.open = False
        connections[0].abort()

        async def again() -> str:
            try:
                await session.snapshot()
            except ConnectionError as e:
                return "" if "was lost" in str(e) else str(e)
            return "there"

        said = await until(again)
        assert said == (f"{word} asks again ({word}: Code): leave and attach anew to answer" if both else "there")
        assert len(asked) == 1 + both
        assert "right" not in said
    finally:
        await session.close()
        listener.close()
        await listener.wait_closed()


@pytest.mark.parametrize("words", [["status"], ["attach"], ["status", "--json"]])
async def test_commands_on_a_controller_there(
    server: Sshd, house: House, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code = await asyncio.to_thread(main, [*words, "--ssh", server.target, "--state", str(house.directory)])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "") and out
    code = await asyncio.to_thread(main, [*words, "--ssh", server.target, "--state", "/nowhere"])
    assert code == 4 and f"on {server.target}: is the controller running?" in capsys.readouterr().err


async def refused(session: SshSession) -> str:
    try:
        with pytest.raises((ConnectionError, Fail)) as e:
            await session.connect()
        assert session.directory is None and session.connection is None  # nothing is left, also without `close`
        return str(e.value)
    finally:
        await session.close()


async def test_what_is_wrong_has_a_sentence(
    server: Sshd, short_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, asker = Target(server.target), Asker(lambda prompt: "wrong")
    assert "is the controller running" in await refused(SshSession(target, state=str(short_dir)))
    (short_dir / "view.sock").write_text("")
    assert "is no socket" in await refused(SshSession(target, state=str(short_dir)))
    gone = Target(f"{server.user}@127.0.0.1:1")
    assert "cannot be entered by SSH" in await refused(SshSession(gone, state="/x", asker=asker))
    (tmp_path / ".ssh").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "not in known_hosts" in await refused(SshSession(target, state="/x", asker=asker))
    (tmp_path / ".ssh" / "known_hosts").write_bytes((server.home / ".ssh" / "known_hosts").read_bytes())
    assert "does not let us in" in await refused(SshSession(target, state="/x", asker=asker))


@pytest.mark.parametrize(
    ("given", "word"),
    [({"control": True}, "--control goes with --ssh"), ({"socket": "/x"}, "--socket goes with --ssh"),
     ({"ssh": "h", "socket": "/x", "state": "/y"}, "leave --state out"),
     ({"ssh": "h", "socket": "/x", "control": True}, "leave --control out")],
)  # fmt: skip
def test_options_that_do_not_go_together(given: dict[str, object], word: str) -> None:
    with pytest.raises(Fail, match=word):
        checked(options(**given))


@pytest.mark.parametrize("text", ["", "a b", "-oProxyCommand=x", "h:0", "h:70000", "u@", "a@b@"])
def test_what_is_no_target(text: str) -> None:
    with pytest.raises(Fail, match="is not"):
        far_session(options(ssh=text), view=True)


def test_targets() -> None:
    six = Target("me@[fd00::1]:2200")
    assert (six.user, six.host, six.port) == ("me", "fd00::1", 2200)


def test_answers_are_remembered_once_and_codes_are_not() -> None:
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return "given"

    asker = Asker(ask)
    for _ in range(2):
        asker.begin()
        assert asker.answer("h's password: ", "password of h") == "given"
    assert len(asked) == 1
    asker.begin()
    assert asker.answer("h: Code: ", "h Code: ") == "given"
    asker.open = False
    asker.begin()
    assert asker.answer("h: Code: ", "h Code: ") is None and asker.refused
    assert asker.answer("h's password: ", "password of h") == "given"
    assert asker.answer("h's password: ", "password of h") is None  # it was not taken
