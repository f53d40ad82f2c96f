"""`:cp`: its dialog, its line of progress, and how it ends. Real copies are in tests/e2e/test_copy.py."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cockpit.plan.direct import direct_plan
from cockpit.plan.steps import Bad, Intent
from cockpit.session.copying import pace, wanted
from screens.aim import Aim
from screens.transfer import under_cursor
from tests.screens.canned import CannedSession
from tests.screens.drive import Driver, driven, until

DATA = b"bytes of a far file\n" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


class Session(CannedSession):
    """A host with one file, which takes one too."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.got = b""
        self.ended = asyncio.Event()
        self.held = asyncio.Event()
        """Set: the far side goes on."""
        self.held.set()
        self.answers["direct"] = lambda args: direct_plan(Intent(
            verb="copy", targets=(args.get("host") or "bj-1",), params={
                "instance": args.get("instance", ""), "sha256": args.get("sha256", ""),
                **{k: args.get(k) for k in ("path", "put", "overwrite", "size")},
            },
        ), 1)  # fmt: skip
        self.answers["copy_send"] = self.sent
        self.answers["copy_took"] = self.answers["copy_end"] = lambda args: {}

    def sent(self, args: dict[str, Any]) -> dict[str, Any]:
        self.got += base64.b64decode(args.get("data", ""))
        if args.get("eof"):
            self.ended.set()
        return {}

    async def stream(self, op: str, args: dict[str, Any] | None = None) -> AsyncIterator[Any]:
        if op != "copy":
            async for item in super().stream(op, args):
                yield item
            return
        asked = args or {}
        self.called.append((op, asked))
        yield {"copy": "copy-1"}
        yield {"begun": {"user": "root", "path": asked["path"], "size": 2 * len(DATA), "mode": 0o640}}
        if asked["put"]:
            await self.ended.wait()
        else:
            yield {"data": base64.b64encode(DATA).decode()}
            await self.held.wait()
        done = self.got if asked["put"] else DATA
        yield {"done": {
            "path": asked["path"], "size": len(done), "sha256": hashlib.sha256(done).hexdigest(), "changed": False,
            "seconds": 0.1,
        }}  # fmt: skip


async def command(d: Driver, text: str) -> None:
    await d.press(":")
    await d.type(text)
    await d.press("enter")


async def dialog(d: Driver) -> None:
    await d.press("h")
    await d.at("HostsScreen")
    await command(d, "cp")
    await d.at("TransferScreen")


def asked(session: Session) -> list[dict[str, Any]]:
    return [args for op, args in session.called if op == "copy"]


async def test_from_the_host_under_the_cursor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log").write_text("old")
    async with driven(session=Session()) as d:
        await dialog(d)
        await d.sees("copy from bj-1")
        await d.sees("Type the path there")
        await d.press("enter")
        await d.at("TransferScreen")
        await d.type("/var/log/")
        await d.sees("names a directory")
        await d.type("log")
        await d.sees("reads /var/log/log of bj-1; writes")
        await d.sees("never over a file that is there")
        await d.press("enter")
        await d.sees("is there already and was left as it is; ^O replaces it")
        assert not asked(d.session)
        await d.press("tab")
        await d.type("new")
        await d.sees("bj-1: /var/log/log")  # the line that is not typed in
        await d.press("enter")
        await d.sees("copied bj-1:/var/log/log -> new: 19.5 KiB, sha256")
        assert (tmp_path / "new").read_bytes() == DATA and (tmp_path / "new").stat().st_mode & 0o777 == 0o640
        assert SHA256[:12] in d.text() and sorted(os.listdir(tmp_path)) == ["log", "new"]
        await dialog_again(d)
        await d.type("/var/log/log")
        await d.press("ctrl+o")
        await d.sees("in place of a file that may be there")
        await d.press("enter")
        await until(lambda: (tmp_path / "log").read_bytes() == DATA)
        assert [a["overwrite"] for a in asked(d.session)] == [False, False], "what is replaced is here, not there"


async def dialog_again(d: Driver) -> None:
    await command(d, "cp")
    await d.at("TransferScreen")


async def test_the_other_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.txt").write_bytes(DATA)
    (tmp_path / "here.txt").chmod(0o644)
    async with driven(session=Session()) as d:
        await dialog(d)
        await d.press("ctrl+r")
        await d.sees("copy to bj-1")
        await d.type("/tmp/")
        await d.press("tab")
        await d.type("nothing")
        await d.press("enter")
        await d.sees("No such file")
        await d.press("ctrl+u")
        await d.type("here.txt")
        await d.sees("writes /tmp/here.txt of bj-1, never over")
        await d.press("enter")
        await d.sees("copied ./here.txt -> bj-1:/tmp/here.txt: 19.5 KiB")
        (request,) = asked(d.session)
        assert d.session.got == DATA
        assert (request["size"], request["sha256"], request["mode"]) == (len(DATA), SHA256, 0o644)


async def test_progress_is_shown_and_it_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    session = Session()
    session.held.clear()
    async with driven(session=session) as d:
        await command(d, "cp bj-1:/var/log/log .")
        await d.sees("reads /var/log/log of bj-1")
        assert "bj-1: /var/log/log " in d.text(), "a field keeps what is in it when another one is typed in"
        await d.press("enter")
        await d.sees("copy log")
        await d.sees("19.5 KiB of 39.1 KiB  50%")
        await d.press("h")
        await d.at("HostsScreen")
        await d.sees(":cp stop")
        await command(d, "cp")
        await d.sees("one at a time")
        await command(d, "cp stop")
        await d.sees("copy of log: ended; nothing was written")
        assert os.listdir(tmp_path) == [] and ":cp stop" not in d.text()
        await command(d, "cp stop")
        await d.sees("nothing is being copied")


@pytest.mark.parametrize(("line", "says"), [
    ("cp", "put the cursor on a host or an instance"),
    ("cp a", "takes a source and a target"),
    ("cp a b", "both are here"),
    ("cp bj-11:/a .", "did you mean"),
    ("cp 'a", "a quotation mark is not closed"),
])  # fmt: skip
async def test_what_is_typed_wrong(line: str, says: str) -> None:
    async with driven(session=Session()) as d:
        await command(d, line)
        await d.sees(says)
        assert d.name != "TransferScreen"


async def test_read_only_has_none() -> None:
    async with driven(session=Session(read_only="this is a view-only socket")) as d:
        await d.press("h")
        await d.at("HostsScreen")
        await command(d, "cp")
        await d.sees("cp is off: this is a view-only socket")


def test_words() -> None:
    assert under_cursor(Aim("instance", ("a/0",))) == "a/0"
    with pytest.raises(Bad, match="2 are marked"):
        under_cursor(Aim("host", ("a", "b")))
    far = wanted("web/2:x", "y")
    assert (far.name, far.path, far.here, far.put) == ("web/2", "x", "y", False)
    assert wanted("./a:b", "h-1:/tmp/").path == "/tmp/a:b"
    for words, says in (
        (("-", "h:/tmp/"), "standard input has no name"), (("h:/tmp/", "x"), "names a directory"),
        (("h:", "x"), "the path of a file"), (("h:/a\x1b", "x"), "printable"),
        (("h:/a", ""), "a file here is wanted"),
    ):
        with pytest.raises(Bad, match=says):
            wanted(*words)
    assert pace(512, 2048, 0.5) == "512 B of 2.0 KiB  25%  1.0 KiB/s  2 s left"
    assert pace(512, None, 0.5) == "512 B  1.0 KiB/s" and pace(0, 10, 0.0) == "0 B of 10 B  0%  0 B/s"
