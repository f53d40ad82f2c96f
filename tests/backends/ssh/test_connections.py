"""Connections: jump hosts, keys of hosts, questions, gates, forwards, losses."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from backends.ssh.pool import Kept, Pool
from backends.ssh.prompts import Prompts
from backends.ssh.reach import Hop, ReachError, Settings, hops_of, parse_hop
from tests.backends.ssh.world import Controller, Sshd, client_config, gateway, host_entry, make_key
from tests.helpers import PATIENCE, answers, free_port, loopback, sshd_below, until


@pytest.mark.parametrize(
    ("text", "hop"),
    [
        ("a", Hop("a")), ("u@a:2222", Hop("a", 2222, "u")), ("[::1]:22", Hop("::1", 22)),
        ("", None), ("a b", None), ("a:99999", None), ("a:x", None),
    ],
)
def test_jumps(text: str, hop: Hop | None) -> None:
    if hop is None:
        with pytest.raises(ReachError, match="jump"):
            parse_hop(text)
    else:
        assert parse_hop(text) == hop


def test_ports_and_users_may_come_from_ssh_config() -> None:
    ssh = {"jump": ["j"], "port": 22}
    assert hops_of(ssh, "10.0.0.1") == (Hop("j"), Hop("10.0.0.1"))


async def test_through_two_jumps(tmp_path: Path, key: Path) -> None:
    servers = [Sshd(tmp_path / f"s{n}", key) for n in range(3)]
    with contextlib.ExitStack() as stack:
        for server in servers:
            stack.enter_context(server.up())
        config = client_config(tmp_path, key, servers)
        jumps = [f"{s.address}:{s.port}" for s in servers[:2]]
        async with gateway(tmp_path / "gw", config) as c:
            hosts = {
                name: host_entry(servers[2], uuid=name, ssh={"jump": jumps}, directory=str(tmp_path / name))
                for name in ("a", "b")
            }
            c.send({"t": "hosts", "hosts": hosts, "downlinks": {}})
            await c.host("a")
            await c.host("b")
            for n in range(3):  # every hop is entered once, however many hosts lie behind it
                log = (servers[n].dir / "log").read_text()
                assert log.count("Accepted publickey") == 1, n


async def test_jump_that_does_not_answer_is_named(tmp_path: Path, key: Path, server: Sshd) -> None:
    port = free_port(server.address)
    async with gateway(tmp_path / "gw", client_config(tmp_path, key, [server])) as c:
        entry = host_entry(server, ssh={"jump": [f"{server.address}:{port}"]}, directory=str(tmp_path / "far"))
        c.send({"t": "hosts", "hosts": {"h": entry}, "downlinks": {}})
        text = await until(lambda: c.states.get("h", {}).get("text"))
        assert "jump host" in text and f":{port}" in text


@pytest.mark.parametrize("changed", [False, True])
async def test_host_keys_are_checked(tmp_path: Path, key: Path, server: Sshd, changed: bool) -> None:
    config = client_config(tmp_path, key, [server])
    known = tmp_path / "known_hosts"
    if changed:
        make_key(tmp_path / "other")
        kind, other, *_ = (tmp_path / "other.pub").read_text().split()
        known.write_text(f"[{server.address}]:{server.port} {kind} {other}\n")
    else:
        known.write_text("")
    before = known.read_text()
    async with gateway(tmp_path / "gw", config) as c:
        c.send({"t": "hosts", "hosts": {"h": host_entry(server, directory=str(tmp_path / "far"))}, "downlinks": {}})
        state = await until(lambda: (s := c.states.get("h")) and s["state"] == "failed" and s)
        assert str(known) in state["text"] and "ssh-keyscan" in state["text"]
        assert ("CHANGED" in state["text"]) == changed
        assert not c.opens
        known.write_text(server.known())  # an operator has looked
        await c.host("h")
    assert before != known.read_text()


async def test_checking_cannot_be_switched_off(tmp_path: Path, key: Path, server: Sshd) -> None:
    config = client_config(tmp_path, key, [server]).replace(str(tmp_path / "known_hosts"), "none")
    async with gateway(tmp_path / "gw", config) as c:
        c.send({"t": "hosts", "hosts": {"h": host_entry(server, directory=str(tmp_path / "far"))}, "downlinks": {}})
        assert "must be checked" in await until(lambda: c.states.get("h", {}).get("text"))


async def test_a_wrong_key_says_what_to_try(tmp_path: Path, key: Path, server: Sshd) -> None:
    make_key(tmp_path / "stranger")
    async with gateway(tmp_path / "gw", client_config(tmp_path, tmp_path / "stranger", [server])) as c:
        c.send({"t": "hosts", "hosts": {"h": host_entry(server, directory=str(tmp_path / "far"))}, "downlinks": {}})
        assert "no login" in await until(lambda: c.states.get("h", {}).get("text"))


class Asking(asyncssh.SSHServer):
    """Wants a password, then a code that is good once."""

    codes: list[str] = []  # noqa: RUF012
    asked = 0

    def begin_auth(self, username: str) -> bool:
        return True

    def kbdint_auth_supported(self) -> bool:
        return True

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        type(self).asked += 1
        return "", "", "", [("Password: ", False), ("Code: ", True)]

    def validate_kbdint_response(self, username: str, responses: Any) -> bool:
        return list(responses) == ["pw", "123456"]


async def test_questions_go_to_a_person_once(tmp_path: Path, key: Path) -> None:
    make_key(tmp_path / "host")
    address = loopback()
    acceptor = await asyncssh.listen(address, 0, server_factory=Asking, server_host_keys=[str(tmp_path / "host")])
    port = acceptor.get_port()
    kind, public, *_ = (tmp_path / "host.pub").read_text().split()
    (tmp_path / "known").write_text(f"[{address}]:{port} {kind} {public}\n")
    (tmp_path / "config").write_text(
        f"Host *\n  UserKnownHostsFile {tmp_path}/known\n  IdentityFile {key}\n  User somebody\n"
    )
    asked: list[dict[str, Any]] = []
    prompts = Prompts(asked.append)
    pool = Pool(Settings((str(tmp_path / "config"),)), prompts, lambda: None)
    hops = (Hop(address, port),)
    try:
        kept = pool.use(hops, "h")
        await until(lambda: len(asked) == 1)
        assert asked[0]["secret"] and "Password" in asked[0]["text"] and kept.state == "waiting"
        prompts.answer(asked[0]["id"], "pw")
        prompts.answer(asked[0]["id"], "again")  # the first one counts
        await until(lambda: len(asked) == 2)
        assert not asked[1]["secret"]
        prompts.answer(asked[1]["id"], "123456")
        conn = await asyncio.wait_for(kept.ready(), PATIENCE)
        conn.abort()  # made again: the password is remembered, the code is not
        await until(lambda: len(asked) == 3)
        assert "Code" in asked[2]["text"]
        prompts.answer(asked[2]["id"], "123456")
        await until(lambda: kept.times == 2)
        assert "pw" not in repr(vars(kept)) and len(asked) == 3
    finally:
        await pool.close()
        acceptor.close()
        await acceptor.wait_closed()


async def test_an_encrypted_key_is_asked_for(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    make_key(locked, "open sesame")
    server = Sshd(tmp_path / "s", locked)
    with server.up():
        async with gateway(tmp_path / "gw", client_config(tmp_path, locked, [server])) as c:
            entry = host_entry(server, directory=str(tmp_path / "far"))
            c.send({"t": "hosts", "hosts": {"h": entry}, "downlinks": {}})
            prompt = await until(lambda: c.prompts and c.prompts[0])
            assert prompt["secret"] and str(locked) in prompt["text"] and prompt["host"] == "h"
            c.send({"t": "answer", "prompt": prompt["id"], "text": "open sesame"})
            await c.host("h")
            assert "open sesame" not in str(c.frames)


async def test_few_handshakes_at_once(tmp_path: Path, key: Path) -> None:
    """sshd refuses logins when too many are not finished: thirty at once all come in, and none is refused."""
    server = Sshd(tmp_path / "s", key, extra="MaxStartups 12:100:12")
    with server.up():
        (tmp_path / "c").write_text(client_config(tmp_path, key, [server]))
        pool = Pool(Settings((str(tmp_path / "c"),)), Prompts(lambda f: None), lambda: None)
        hop = Hop(server.address, server.port)
        assert pool.use((hop,)) is pool.use((hop,))  # one machine, one connection
        many = [Kept(pool, hop, None, f"h{n}") for n in range(30)]
        for one in many:
            one.start()
        await asyncio.gather(*(one.ready() for one in many))
        assert [one.times for one in many] == [1] * 30
        await asyncio.gather(*(one.stop() for one in many))
        await pool.close()
    assert "drop connection" not in (server.dir / "log").read_text()


async def test_channels_are_few_at_once(tmp_path: Path, key: Path) -> None:
    server = Sshd(tmp_path / "s", key, extra="MaxSessions 8")
    with server.up():
        (tmp_path / "c").write_text(client_config(tmp_path, key, [server]))
        pool = Pool(Settings((str(tmp_path / "c"),)), Prompts(lambda f: None), lambda: None)
        kept = pool.use((Hop(server.address, server.port),))
        await asyncio.wait_for(kept.ready(), PATIENCE)
        done = await asyncio.gather(*(kept.run(f"sleep 0.05; echo {n}") for n in range(24)))
        assert [d.out for d in done] == [f"{n}\n" for n in range(24)]
        await pool.close()


async def test_a_loss_is_told_and_mended(tmp_path: Path, key: Path) -> None:
    server = Sshd(tmp_path / "s", key)
    async with gateway(tmp_path / "gw", client_config(tmp_path, key, [server])) as c:
        with server.up():
            entry = host_entry(server, directory=str(tmp_path / "far"))
            c.send({"t": "hosts", "hosts": {"h": entry}, "downlinks": {}})
            await c.host("h")
            first = c.sids["h"]
            os.kill(sessions_of(server)[0], signal.SIGKILL)
            await until(lambda: c.shuts)
            assert c.shuts[0]["sid"] == first and "broke" in c.shuts[0]["why"]
            await until(lambda: len(c.fulls) == 2)
            assert c.sids["h"] != first
            for pid in sessions_of(server):
                os.kill(pid, signal.SIGKILL)
        state = await until(lambda: (s := c.states["h"]) and s["state"] == "failed" and s)
        assert server.address in state["text"]
        with server.up():
            await until(lambda: len(c.fulls) == 3)


def sessions_of(server: Sshd) -> list[int]:
    """The processes that hold logins of this server; for a user who is not root two each."""
    return sshd_below(server.pid)


async def test_downlink_through_a_jump(tmp_path: Path, key: Path, server: Sshd) -> None:
    """Something that listens here is reached at a port of the far side's loopback, again after a loss."""
    jump = Sshd(tmp_path / "j", key)

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"controller\n")
        writer.close()

    hub = await asyncio.start_server(greet, "127.0.0.1", 0)
    to = hub.sockets[0].getsockname()[:2]
    port, taken = free_port(), socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()

    async def heard() -> bytes:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                return await reader.read()
            finally:
                writer.close()
        return b""

    def link(listen: int) -> dict[str, Any]:
        ssh: dict[str, Any] = {"address": server.address, "port": server.port, "listen": listen}
        ssh["jump"] = [f"{jump.address}:{jump.port}"]
        return {"kind": "host", "ssh": ssh, "target": list(to), "origin": list(to)}

    with jump.up():
        async with gateway(tmp_path / "gw", client_config(tmp_path, key, [server, jump])) as c:
            c.send({"t": "hosts", "hosts": {}, "downlinks": {"h": link(port), "x": link(taken.getsockname()[1])}})
            await until(lambda: c.states.get("h", {}).get("state") == "connected")
            assert await heard() == b"controller\n"
            refused = await until(lambda: (s := c.states["x"]) and s["state"] == "failed" and s)
            assert "refuses to listen" in refused["text"]
            for pid in sessions_of(jump):
                os.kill(pid, signal.SIGKILL)
            await until(lambda: c.states["h"]["state"] != "connected")
            await until(lambda: c.states["h"]["state"] == "connected")
            assert await until(heard) == b"controller\n"
            c.send({"t": "hosts", "hosts": {}, "downlinks": {}})
            await until(lambda: not answers("127.0.0.1", port))
    taken.close()
    hub.close()


async def test_as_a_process(tmp_path: Path, key: Path, server: Sshd) -> None:
    """As the controller starts it; it ends when the controller does."""
    (tmp_path / "config").write_text(client_config(tmp_path, key, [server]))
    (tmp_path / "ssh.json").write_text(f'{{"config": ["{tmp_path}/config"]}}')
    ours, theirs = socket.socketpair()
    argv = [sys.executable, "-m", "backends.ssh", "--dir", str(tmp_path), "--fd", str(theirs.fileno())]
    with subprocess.Popen(argv, pass_fds=[theirs.fileno()], cwd=Path(__file__).parents[3]) as process:
        theirs.close()
        ours.setblocking(False)
        c = Controller(ours)
        await c.start()
        c.send({"t": "hosts", "hosts": {"h": host_entry(server, directory=str(tmp_path / "far"))}, "downlinks": {}})
        await c.host("h")
        assert c.frames[0]["t"] == "relay" and c.frames[0]["pid"] == process.pid
        await c.stop()
        assert await asyncio.to_thread(process.wait, 10) == 0
