"""Who is in which swarm, and who is to connect to whom. Sans-I/O; nothing here needs the time.

Up to `full` peers everybody is connected to everybody. Above, the peers form a random graph of about `degree`
neighbours each: a newcomer is put between connected pairs, so the graph stays connected and what is connected
mostly stays so. The chooser beside the tracker (its hub) takes part with more neighbours than the others.
"""

from __future__ import annotations

from random import Random
from typing import Dict, List, NamedTuple, Optional, Set, Union


class Node(NamedTuple):
    """Where a node listens: it announces itself only after it does."""

    name: str
    address: str
    port: int


class Dial(NamedTuple):
    """Tell `name` to connect to `node`."""

    name: str
    node: Node


class Part(NamedTuple):
    """Tell `name` that it need not be connected to `other` any more."""

    name: str
    other: str


Change = Union[Dial, Part]
Changes = List[Change]


class _Members:
    """One swarm: the hub and the peers, their places, their neighbours; a random one in constant time."""

    def __init__(self, hub: Node) -> None:
        self.hub = hub.name
        self.nodes: Dict[str, Node] = {hub.name: hub}
        self.links: Dict[str, Set[str]] = {hub.name: set()}
        self.order: List[str] = []  # the peers
        self.place: Dict[str, int] = {}
        self.left = 0  # since the graph was last seen to be connected

    def add(self, node: Node) -> None:
        self.nodes[node.name] = node
        self.links[node.name] = set()
        self.place[node.name] = len(self.order)
        self.order.append(node.name)

    def remove(self, name: str) -> List[str]:
        """Its former neighbours, sorted."""
        former = sorted(self.links.pop(name))
        for other in former:
            self.links[other].discard(name)
        del self.nodes[name]
        place, last = self.place.pop(name), self.order.pop()
        if last != name:
            self.order[place] = last
            self.place[last] = place
        self.left += 1
        return former


class Tracker:
    """`hub` is the chooser that the tracker belongs to; every peer is told of it by its own means (it dialled the
    tracker), so a Dial to it is a matter of the swarm's graph only."""

    def __init__(
        self, hub: Node, *, full: int = 24, degree: int = 10, most: int = 14, least: int = 8, seed: int = 0
    ) -> None:
        self.hub = hub
        self.full = full
        self.degree = degree
        self.most = most
        self.least = least
        self._random = Random(seed)
        self._swarms: Dict[str, _Members] = {}

    def swarms(self) -> List[str]:
        """The swarms that have peers."""
        return list(self._swarms)

    def peers(self, swarm: str) -> List[Node]:
        """The peers of a swarm, without the hub."""
        members = self._swarms.get(swarm)
        return [members.nodes[name] for name in members.order] if members else []

    def neighbours(self, swarm: str, name: str) -> List[Node]:
        """To whom a node (or the hub) is to be connected; sorted by name."""
        members = self._swarms.get(swarm)
        if members is None:
            return []
        return [members.nodes[other] for other in sorted(members.links.get(name, ()))]

    def join(self, swarm: str, node: Node) -> Changes:
        """A peer announces itself; when it was here, its old place is given up first.

        The newcomer dials. Raises ValueError when it calls itself like the hub.
        """
        if node.name == self.hub.name:
            raise ValueError(f"a peer calls itself {node.name!r}, which is this tracker's name")
        changes = self.leave(swarm, node.name)
        members = self._swarms.setdefault(swarm, _Members(self.hub))
        members.add(node)
        if len(members.order) <= self.full:
            for other in [members.hub, *members.order[:-1]]:
                self._link(members, node.name, other, changes)
            return changes
        if len(members.links[members.hub]) < self.full:
            self._link(members, node.name, members.hub, changes)
        self._insert(members, node.name, changes)
        return changes

    def leave(self, swarm: str, name: str) -> Changes:
        """A peer is no longer in the swarm. Its former neighbours notice by themselves; some get new ones."""
        changes: Changes = []
        members = self._swarms.get(swarm)
        if members is None or name not in members.place:
            return changes
        former = members.remove(name)
        if not members.order:
            del self._swarms[swarm]
            return changes
        if members.hub in former:
            self._fill_hub(members, changes)
        if len(members.order) <= self.full:
            for at, one in enumerate(members.order):
                for other in [members.hub, *members.order[:at]]:
                    self._link(members, one, other, changes)
            members.left = 0
            return changes
        self._pair([other for other in former if other != members.hub], members, changes)
        if members.left >= max(1, len(members.order) // 20):
            self._reconnect(members, changes)
            members.left = 0
        return changes

    def gone(self, name: str) -> Dict[str, Changes]:
        """The connection to a node dropped: it leaves every swarm at once."""
        found = [swarm for swarm, members in self._swarms.items() if name in members.place]
        return {swarm: self.leave(swarm, name) for swarm in found}

    def rescue(self, swarm: str, name: str) -> Changes:
        """A peer gets nothing from its neighbours: connect it to the hub and to one more peer."""
        changes: Changes = []
        members = self._swarms.get(swarm)
        if members is None or name not in members.place:
            return changes
        self._link(members, name, members.hub, changes)
        other = self._stranger(members, name)
        if other is not None:
            self._link(members, name, other, changes)
        return changes

    def _link(self, members: _Members, one: str, other: str, changes: Changes) -> None:
        """Connect two nodes; `one` dials, unless it is the hub, which never does."""
        if one == members.hub:
            one, other = other, one
        if one == other or other in members.links[one]:
            return
        members.links[one].add(other)
        members.links[other].add(one)
        changes.append(Dial(one, members.nodes[other]))

    def _unlink(self, members: _Members, one: str, other: str, changes: Changes) -> None:
        members.links[one].discard(other)
        members.links[other].discard(one)
        changes.append(Part(one, other))
        changes.append(Part(other, one))

    def _stranger(self, members: _Members, name: str) -> Optional[str]:
        """A random peer that is not connected to this one."""
        links = members.links[name]
        for _ in range(50):
            other = members.order[int(self._random.random() * len(members.order))]
            if other != name and other not in links:
                return other
        return next((other for other in members.order if other != name and other not in links), None)

    def _insert(self, members: _Members, name: str, changes: Changes) -> None:
        """Connect a newcomer to random peers; where one has enough, go between it and one of its neighbours."""
        links = members.links
        while len(links[name]) < self.degree:
            other = self._stranger(members, name)
            if other is None:
                return
            if len(links[other]) >= self.most:
                between = [far for far in sorted(links[other]) if far != members.hub and far not in links[name]]
                if between:
                    far = between[int(self._random.random() * len(between))]
                    self._unlink(members, other, far, changes)
                    self._link(members, name, far, changes)
                self._thin(members, other, changes)
            self._link(members, name, other, changes)

    def _thin(self, members: _Members, name: str, changes: Changes) -> None:
        """A peer with too many neighbours loses one that has too many as well and that it reaches by a third."""
        links = members.links
        if len(links[name]) < self.most:
            return
        for other in sorted(links[name]):
            if other != members.hub and len(links[other]) > self.most and not links[name].isdisjoint(links[other]):
                return self._unlink(members, name, other, changes)

    def _pair(self, former: List[str], members: _Members, changes: Changes) -> None:
        """Those who lost a neighbour and have too few are connected to each other, the rest to anybody."""
        poor = [name for name in former if len(members.links[name]) < self.degree]
        self._random.shuffle(poor)
        for at in range(1, len(poor), 2):
            self._link(members, poor[at - 1], poor[at], changes)
        for name in poor:
            while len(members.links[name]) < self.least:
                stranger = self._stranger(members, name)
                if stranger is None:
                    break
                self._link(members, name, stranger, changes)

    def _fill_hub(self, members: _Members, changes: Changes) -> None:
        """The hub lost a neighbour: another takes its place."""
        if len(members.links[members.hub]) < min(self.full, len(members.order)):
            other = self._stranger(members, members.hub)
            if other is not None:
                self._link(members, other, members.hub, changes)

    def _reconnect(self, members: _Members, changes: Changes) -> None:
        """Connect to the hub's part whatever fell off it."""
        seen: Set[str] = set()
        for start in [members.hub, *members.order]:
            if start in seen:
                continue
            if seen:
                self._link(members, start, members.hub, changes)
            seen.add(start)
            ahead = [start]
            while ahead:
                for other in members.links[ahead.pop()]:
                    if other not in seen:
                        seen.add(other)
                        ahead.append(other)
