"""What agents report, and what each is told: the controller's end of the hub."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from cockpit.link import messages

if TYPE_CHECKING:
    from cockpit.controller.core import Controller


class Reports:
    """`hub.owner`: see `cockpit.link.owners.HubOwner`."""

    def __init__(self, controller: Controller) -> None:
        self.c = controller

    def welcome(self, host: str, uuid: str) -> dict[str, Any] | None:
        where = self.c.world.expected.hosts.get(host)
        if where is None or not self.c.joining.admits(host, uuid):
            return None
        region = self.c.world.expected.regions.get(where.region)
        return {
            "address": where.address, "port_range": list(where.port_range),
            "cluster": self.c.world.expected.name, "region": where.region, "ways": self.c.trunks.ways(host),
            "transports": list(region.transports) if region is not None else [],
            "proxy": region.proxy if region is not None else "",
        }

    def connected(self, host: str, hello: messages.Hello) -> None:
        link = self.c.hub.links[host]
        self.c.world.connected(host, hello, time.time(), link.path, link.transport)
        self.c.security.greet(host)

    def heard(self, host: str, latency: float | None) -> None:
        self.c.world.seen(host, time.time(), latency)

    def disconnected(self, host: str, why: str) -> None:
        self.c.world.lost(host, self.c.security.why(host) or why, time.time())
        self.c.runner.host_seen(host)
        self.c.pushes.lost(host)
        self.c.look_at_local()

    def frame(self, host: str, frame: messages.AnyFrame) -> None:
        now = time.time()
        match frame:
            case messages.UnitFrame(unit=unit):
                self.c.world.unit(host, unit, now)
                self.c.runner.unit_seen(unit, host)
            case messages.Full():
                self._full(host, frame, now)
            case messages.Gone(unit=unit_id):
                self.c.world.gone(host, unit_id, now)
                self.c.runner.unit_gone(unit_id)
            case messages.Event(seq=seq, event=event):
                self.c.runner.host_event(host, event)
                self.c.hub.send(host, {"t": "ack", "seq": seq})
            case messages.Releases(releases=releases):
                self.c.world.host_fact(host, releases=tuple(sorted(releases)))
            case messages.Names(version=version):
                self.c.world.host_fact(host, names_applied=version)
                self.c.runner.names_applied()
            case messages.Bye(why=why):
                self.c.world.down(host, why[:200], now)
            case messages.Renew(csr=csr):
                self.c.spawn(self.c.security.renew(host, csr))
            case messages.Identity(text=text, serial=serial, expires=expires):
                self.c.security.told(host, text, serial, expires)
            case messages.Log():
                self.c.logs.frame(frame)
            case messages.Progress(task=task, data=data):
                takers = (self.c.builds, self.c.executions, self.c.shells, self.c.copies, self.c.forwards)
                if not any(taker.progress(task, data) for taker in takers):
                    self.c.runner.progress(task, data)
            case messages.Plugins():
                self.c.plugins.table(host, frame)
            case messages.PluginData():
                self.c.plugins.told(host, frame)

    def _full(self, host: str, frame: messages.Full, now: float) -> None:
        gone = self.c.world.full(host, frame, now)
        for unit_id in gone:
            self.c.runner.unit_gone(unit_id)
        for unit in frame.units:
            self.c.runner.unit_seen(unit, host)
        self.c.runner.host_seen(host)
        self.c.names.greet(host)
        self.c.plugins.greet(host)
        if (frame.head or {}).get("digest") != self.c.world.digest:
            self.c.send_head(host)

    async def join(self, request: dict[str, Any]) -> dict[str, Any]:
        return await self.c.joining.join(request, self.c.url, str(request.get("address", "")))
