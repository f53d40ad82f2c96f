"""Pushes under way: what a host is told to fetch, how far each receiver is, and the word when it is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cockpit.controller.origin import OriginError
from cockpit.link.hub import Answer
from cockpit.model.push_rows import in_state, merged, with_facts
from cockpit.model.topology import Expected, Host
from cockpit.model.view import PushRow
from cockpit.plan.signing import demands
from cockpit.swarm.layout import swarm_id

if TYPE_CHECKING:
    from cockpit.controller.core import Controller

KEPT = 5
"""Pushes whose rows stay on the screen after their end."""
HOSTS_PER_REPORT = 250
"""With so many receivers each reports once a second instead of twice, with more even less often."""

Record = Mapping[str, Any]


def fetch_args(
    expected: Expected, host: str, record: Record, *, action: str, origin: tuple[str, int],
    relay_port: Callable[[str], int], signatures: list[dict[str, Any]], patch: Record | None,
    receivers: int = 1,
) -> dict[str, Any]:
    """The arguments of the word `fetch` (docs/artifacts.md). `patch` leads here from a version the host has.

    `origin` is where it listens.
    """
    where = expected.hosts[host]
    trackers = [
        {"name": name, "address": relay.address, "port": relay.port or relay_port(name)}
        for name, relay in sorted(expected.relays.items()) if relay.region == where.region
    ]
    trackers.append({"name": "", **_origin_for(expected, where, origin)})
    args = {
        key: record[key] for key in ("name", "version", "sha256", "layout", "kind", "size")
    } | {
        "push": action, "trackers": [t for t in trackers if t["port"]], "signatures": signatures,
        "require": sorted(demands(expected).get(str(record["name"]), {})),
        "signers": {role: list(keys) for role, keys in expected.signers.items()},
        "every": round(max(0.5, receivers / HOSTS_PER_REPORT), 1), "patch": dict(patch) if patch else None,
    }  # fmt: skip
    if where.push_rate:
        args["rates"] = {"down": where.push_rate, "up": where.push_rate}
    return args


def _origin_for(expected: Expected, host: Host, origin: tuple[str, int]) -> dict[str, Any]:
    """An empty address is that of the host's link: the origin is beside the controller, not beside a relay."""
    if host.ssh is not None and host.ssh.listen:
        return {"address": "127.0.0.1", "port": host.ssh.listen_origin}
    carried = any(r.region == host.region and r.link_port is not None for r in expected.relays.values())
    if not carried:
        return {"address": "", "port": origin[1]}
    anywhere = origin[0] in ("", "0.0.0.0", "::")
    return {"address": origin[0], "port": 0 if anywhere else origin[1]}


Receiver = tuple[str, str]
"""(host or relay, artifact)"""


class Pushes:
    """Rows by (action, receiver). Everything runs on the controller's loop."""

    def __init__(self, controller: Controller) -> None:
        self.c = controller
        self._rows: dict[str, dict[Receiver, PushRow]] = {}
        """Action -> receiver -> row; the oldest action first."""
        self._tasks: dict[str, tuple[str, Receiver]] = {}
        """Task of a command -> (action, receiver)."""
        self._swarms: dict[str, tuple[str, str]] = {}
        """Swarm -> (artifact, action) of the latest push."""

    # beginning

    def args(self, action: str, task: str, host: str, name: str, version: str, receivers: int) -> dict[str, Any]:
        """What to send; notes that this host is a receiver. Raises KeyError when the version is not in the store."""
        catalog = self.c.catalog
        record = catalog.records[f"{name}/{version}"]
        expected = self.c.world.expected
        self._begin(action, task, PushRow(
            action=action, artifact=f"{name}/{version}", host=host, region=expected.hosts[host].region,
            state="running", size=int(record["size"]), started=time.time(),
        ), record)  # fmt: skip
        have = self.c.world.hosts[host].releases if host in self.c.world.hosts else ()
        return fetch_args(
            expected, host, record, action=action, origin=(self.c.address, self.c.origin.port),
            relay_port=self.c.local.relays.port, signatures=catalog.signatures(name, version),
            patch=catalog.patch_for(record, have), receivers=receivers,
        )

    async def warm(self, action: str, task: str, relay: str, name: str, version: str) -> Answer:
        """Have a relay fetch a version; the answer is like a host's."""
        record = self.c.catalog.records.get(f"{name}/{version}")
        if record is None or relay not in self.c.world.expected.relays:
            return Answer(task, False, {}, "missing", f"not known any more: {name}/{version} or {relay}")
        row = PushRow(
            action=action, artifact=f"{name}/{version}", host=relay, relay=True,
            region=self.c.world.expected.relays[relay].region, state="running", size=int(record["size"]),
            started=time.time(),
        )
        self._begin(action, task, row, record)
        try:
            data = await self.c.origin.ask(
                "warm", lambda facts: self.progress(task, facts), timeout=None, relay=relay,
                sha256=record["sha256"], layout=record["layout"], push=action,
            )
        except OriginError as e:
            answer = Answer(task, False, {}, e.code, str(e))
        else:
            answer = Answer(task, True, data)
        self.answered(answer)
        return answer

    def _begin(self, action: str, task: str, row: PushRow, record: Record) -> None:
        if action not in self._rows:
            self._rows[action] = {}
            for old in list(self._rows)[: -KEPT]:
                if not any(r.ended is None for r in self._rows[old].values()):
                    self._drop(old)
        self._tasks[task] = (action, (row.host, row.artifact))
        self._put(row)
        swarm = swarm_id(str(record["sha256"]), str(record["layout"]))
        self._swarms[swarm] = (row.artifact, action)
        self.c.runner.spawn(self._offer(swarm, record))

    def _drop(self, action: str) -> None:
        for name in {name for name, _ in self._rows.pop(action)}:
            self.c.board.drop_push(f"{action}|{name}")
        for swarm in [s for s, (_, owner) in self._swarms.items() if owner == action]:
            del self._swarms[swarm]

    async def _offer(self, swarm: str, record: Record) -> None:
        """Publish it before anybody asks, and keep relays from throwing it away."""
        try:
            await self.c.origin.ask("pin", swarm=swarm, pinned=True)
            if not self.c.origin.published(swarm):
                await self.c.catalog.publish(self.c.origin, record)
        except (OriginError, OSError):
            pass  # whoever asks for it makes us try again (`wanted`)

    def wanted(self, doc: dict[str, Any]) -> None:
        """The origin was asked for what it does not serve yet."""
        self.c.runner.spawn(self._provide(doc))

    async def _provide(self, doc: dict[str, Any]) -> None:
        record = self.c.catalog.by_digest(str(doc.get("sha256", "")), str(doc.get("layout", "")))
        if record is None:
            self.c.origin.unknown(doc)
            return
        try:
            await self.c.catalog.publish(self.c.origin, record)
        except (OriginError, OSError):
            self.c.origin.unknown(doc)

    # how far it is

    def progress(self, task: str, data: Mapping[str, Any]) -> None:
        """What a receiver tells of itself; other commands' progress is not our business."""
        found = self._tasks.get(task)
        row = self._row(*found) if found is not None else None
        if row is None or not isinstance(data.get("swarm"), dict):
            return
        if row.state == "unknown":
            row = in_state(row, "running", note="")
        self._put(with_facts(row, data["swarm"], self.c.world.expected))

    def stats(self, stats: Mapping[str, Any]) -> None:
        """What the origin tells: relays report over their connection to it."""
        for swarm, told in stats.items():
            if swarm not in self._swarms or not isinstance(told, dict):
                continue
            artifact, action = self._swarms[swarm]
            for relay, facts in (told.get("relays") or {}).items():
                if isinstance(facts, dict):
                    self._relay(action, relay, artifact, facts)

    def _relay(self, action: str, relay: str, artifact: str, facts: Mapping[str, Any]) -> None:
        """A relay that passes a running push on has a row like its hosts."""
        expected = self.c.world.expected
        rows = self._rows.get(action, {})
        other = next((r for r in rows.values() if r.artifact == artifact), None)
        if relay not in expected.relays or other is None:
            return
        row = rows.get((relay, artifact))
        if row is None:
            row = PushRow(
                action=action, artifact=artifact, host=relay, relay=True, state="running",
                region=expected.relays[relay].region, size=other.size, started=time.time(),
            )
        row = with_facts(row, facts, expected)
        if row.ended is not None or action not in self._open():
            row = in_state(row, row.state if row.ended else "done", ended=row.ended or time.time())
        elif row.pieces and row.have >= row.pieces and (action, (relay, artifact)) not in self._tasks.values():
            row = in_state(row, "done", ended=time.time())
        self._put(row)

    def _open(self) -> set[str]:
        """Actions of which some receiver is still at work."""
        return {action for action, _ in self._tasks.values()}

    def answered(self, answer: Answer) -> None:
        """A fetch ended."""
        found = self._tasks.pop(answer.task, None)
        row = self._row(*found) if found is not None else None
        if row is None:
            return
        if isinstance(answer.data.get("swarm"), dict):
            row = with_facts(row, answer.data["swarm"], self.c.world.expected)
        if answer.ok:
            self._put(in_state(row, "done", note="", ended=time.time()))
        else:
            self._put(in_state(row, "failed", note=answer.text or answer.code, ended=time.time()))

    def lost(self, host: str) -> None:
        """No answer from a host: what it receives is not known."""
        for action, receiver in list(self._tasks.values()):
            row = self._row(action, receiver) if receiver[0] == host else None
            if row is not None and row.state in ("running", "paused"):
                self._put(in_state(row, "unknown", note=f"no answer from {host}"))

    # what operators do to it

    def hold(self, action: str, paused: bool) -> None:
        for owner, receiver in list(self._tasks.values()):
            row = self._row(owner, receiver)
            if owner == action and row is not None:
                self._tell(row.host, "hold", row, paused=paused)
                self._put(in_state(row, "paused" if paused else "running", note=""))

    def stop(self, action: str) -> None:
        """Receivers stop; what they have stays for the next try."""
        for owner, receiver in list(self._tasks.values()):
            row = self._row(owner, receiver)
            if owner == action and row is not None:
                self._tell(row.host, "unfetch", row)

    def over(self, action: str) -> None:
        """The action ended: nobody has to serve its artifacts any more, unless another push moves them too."""
        rows = self._rows.get(action, {})
        self.stop(action)
        busy = {
            row.artifact for other, rows in self._rows.items() if other != action
            for row in rows.values() if row.ended is None
        }
        for row in list(rows.values()):
            if row.relay and row.ended is None:
                self._put(in_state(row, "done", ended=time.time()))
            if row.artifact not in busy and not row.relay:
                self._tell(row.host, "pushed", row)
        for swarm, (_, owner) in self._swarms.items():
            if owner == action:  # it stays known: relays tell their last facts a little later
                self.c.runner.spawn(self._unpin(swarm))

    async def _unpin(self, swarm: str) -> None:
        try:
            await self.c.origin.ask("pin", swarm=swarm, pinned=False)
        except OriginError:
            pass

    def _tell(self, host: str, word: str, row: PushRow, **args: Any) -> None:
        record = self.c.catalog.records.get(row.artifact)
        if record is None or row.relay:
            return
        task = f"{word}-{row.action}-{host}-{time.monotonic_ns()}"
        future = self.c.hub.begin(task, host, word, {"sha256": record["sha256"], **args})
        future.add_done_callback(_seen)

    def _row(self, action: str, receiver: Receiver) -> PushRow | None:
        return self._rows.get(action, {}).get(receiver)

    def _put(self, row: PushRow) -> None:
        known = self._rows[row.action]
        if known.get((row.host, row.artifact)) != row:
            known[row.host, row.artifact] = row
            mine = [r for (name, _), r in known.items() if name == row.host]
            self.c.board.set_push(f"{row.action}|{row.host}", merged(mine))


def _seen(future: asyncio.Future[Answer]) -> None:
    if not future.cancelled():
        future.exception()
