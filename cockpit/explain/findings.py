"""From troubles to findings: sentences with their evidence, each knot of troubles one."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cockpit.explain import evidence
from cockpit.explain.causes import HOSTS, ODD, SLACK, Graph, Knot, Trouble
from cockpit.explain.facts import ENDED, Facts
from cockpit.explain.suspects import suspects
from cockpit.explain.wrong import BAD, Sort, unheard
from cockpit.model import why_rows as rows
from cockpit.model.units import plural, shorten
from cockpit.model.view import BADNESS, DRIFT, FAILED, PAUSED, UNKNOWN
from cockpit.model.why_rows import ACTION, BECAUSE, HOST, OBJECTS, PERHAPS, REGION, RELAY, SERVICE, Cause, Finding


class Writer:
    """Writes the findings of one graph."""

    def __init__(self, facts: Facts, graph: Graph, *, full: bool = False, brief: bool = False) -> None:
        self.facts = facts
        self.graph = graph
        self.full = full
        self.brief = brief
        """Without evidence and suspects: for a line on the overview."""
        self._bundled = {n for b in graph.bundles.values() for n in b.names}

    def _names(self, trouble: Trouble) -> list[str]:
        return self.graph.bundles[trouble.name].names

    def shown(self, knot: int) -> bool:
        """A service alone is only the way from one trouble to another."""
        return any(t.kind != SERVICE for t in self.graph.knots[knot])

    def behind(self, knot: int) -> dict[int, tuple[str, str]]:
        """The nearest knots behind it that are findings themselves: how sure that is, and the service that is called
        on the way there without being declared."""
        out: dict[int, tuple[str, str]] = {}
        first = [(n, how, self._seen(knot, n)) for n, how in self.graph.causes[knot].items()]
        todo = sorted(first, key=lambda f: (f[1] == BECAUSE, not f[2]))  # what is sure and declared is told first
        seen: set[int] = set()
        while todo:
            there, how, via = todo.pop()
            if self.shown(there):
                known = out.get(there)
                if known is None or (known[0] != BECAUSE and how == BECAUSE):
                    out[there] = how, via
            elif there not in seen:
                seen.add(there)
                todo += [(n, how if h == BECAUSE else PERHAPS, via) for n, h in self.graph.causes[there].items()]
        return out

    def _seen(self, knot: int, there: int) -> str:
        """The service of that knot when nothing here declares that it calls it."""
        names = [t.name for t in self.graph.knots[there] if t.kind == SERVICE]
        callers = {t.sort.service for t in self.graph.knots[knot] if t.sort is not None}
        only = bool(names) and bool(callers) and all(self.facts.undeclared(c, n) for c in callers for n in names)
        return names[0] if only else ""

    def finding(self, knot: int) -> Finding:
        troubles = self.graph.knots[knot]
        made = self._ring(troubles) if len(troubles) > 1 else self._one(troubles[0])
        behind = self.behind(knot)
        causes = sorted(
            (self._cause(n, how, via) for n, (how, via) in behind.items()),
            key=lambda c: (c.how != BECAUSE, c.observed, c.finding),
        )
        hosts = silent = perhaps = 0
        silence = self.facts.wrong.silent
        for there in self.graph.hanging(knot):
            for trouble in self.graph.knots[there]:
                if trouble.kind == HOSTS:
                    names = self.graph.bundles[trouble.name].names
                    hosts += len(names)
                    silent += sum(len(silence.get(n, ())) for n in names)
                elif trouble.kind == HOST and trouble.name not in self._bundled:
                    hosts += 1
                    silent += len(silence.get(trouble.name, ()))
                elif trouble.sort is not None:
                    perhaps += len(self.facts.wrong.groups[trouble.sort].ids)
        own = sum(len(silence.get(t.name, ())) for t in troubles if t.kind == HOST)
        own += sum(len(silence.get(n, ())) for t in troubles if t.kind == HOSTS for n in self._names(t))
        return _with(made, causes=tuple(causes), root=not causes, hosts=hosts, silent=silent + own, perhaps=perhaps)

    def _cause(self, knot: int, how: str, via: str) -> Cause:
        text = self.sentence(knot)
        if via:
            text = f"calls {self.facts.short(via)} (not declared): {text}"
        return Cause(how=how, text=text, finding=self.key(knot), observed=bool(via))

    def key(self, knot: int) -> str:
        return " ".join(_key(t) for t in self.graph.knots[knot] if t.kind != SERVICE)

    def sentence(self, knot: int) -> str:
        troubles = [t for t in self.graph.knots[knot] if t.kind != SERVICE]
        return self._what(troubles[0]) if len(troubles) == 1 else self._ring_what(troubles)

    # one trouble

    def _one(self, trouble: Trouble) -> Finding:
        if trouble.sort is not None:
            return self._group(trouble, trouble.sort)
        return {RELAY: self._relay, HOST: self._host, ACTION: self._action, REGION: self._region, ODD: self._odd,
                HOSTS: self._hosts}[
            trouble.kind
        ](trouble)

    def _what(self, trouble: Trouble) -> str:
        facts, name = self.facts, trouble.name
        if trouble.sort is not None:
            group = facts.wrong.groups[trouble.sort]
            if len(group.ids) == 1:
                return f"{facts.short(group.first)} is {trouble.sort.word}"
            return f"{plural(len(group.ids), 'instance')} of {facts.short(name)} are {trouble.sort.word}"
        if trouble.kind == RELAY:
            return f"relay {name} does not answer"
        if trouble.kind == HOST:
            host = facts.hosts.get(name)
            if host is None:
                return f"of host {name} nothing is known"
            if not unheard(host) and not host.trouble and name in facts.wrong.silent:
                count = plural(len(facts.wrong.silent[name]), "instance")
                return f"host {name} is heard, but nothing of {count} there"
            if not unheard(host):
                return f"host {name} has trouble" if host.trouble else f"host {name} is not as it should be"
            return f"host {name} is down" if host.mark == FAILED else f"host {name} does not answer"
        if trouble.kind == HOSTS:
            bundle = self.graph.bundles[name]
            where = f" of region {bundle.region}" if bundle.cause is None and bundle.region else ""
            return f"{len(bundle.names)} hosts{where} {'are down' if bundle.presence == 'down' else 'do not answer'}"
        if trouble.kind == REGION:
            return f"no host of region {name} answers: perhaps the network there"
        if trouble.kind == ACTION:
            row = facts.actions[name]
            title = shorten(row.title or row.verb, facts.short)
            return f"{row.id} {title} {'was' if row.state == 'interrupted' else 'is'} {row.state}"
        drift = facts.drift[name]
        return f"{facts.short(drift.target)}: {drift.kind}"

    def _group(self, trouble: Trouble, sort: Sort) -> Finding:
        facts = self.facts
        group = facts.wrong.groups[sort]
        one = len(group.ids) == 1
        example = facts.instances.get(group.first)
        base = Finding(
            key=_key(trouble), kind=rows.INSTANCE if one else rows.SERVICE,
            name=group.first if one else sort.service, word=sort.word, what=self._what(trouble), mark=group.mark,
            since=group.since, reason=example.reason if example is not None else "", count=len(group.ids),
            objects=(group.first,) if self.brief or len(group.ids) > 2000 else tuple(sorted(group.ids)[:OBJECTS]),
            door=("node", group.first) if one else ("instances", sort.service),
        )  # fmt: skip
        if self.brief:
            return base
        ids = sorted(group.ids)
        hosts = {facts.instances[i].host for i in ids[:OBJECTS] if i in facts.instances}
        found = suspects(facts, group.since, ids, hosts)
        acts = [s.door[1] for s in found if s.door[:1] == ("action",)]
        back = next((a for a in acts if self._undoable(a)), "")
        open_ = [a for a in acts if facts.actions[a].state not in ENDED and facts.actions[a].verb != "converge"]
        runs = next(iter(open_), "")
        return _with(
            base, evidence=evidence.of_group(facts, sort, full=self.full), suspects=found,
            remedies=evidence.for_group(facts, sort, ids, back, runs),
        )  # fmt: skip

    def _undoable(self, id: str) -> bool:
        """Never a return or another undoing: its inverse brings back what was bad. Nor what was undone already."""
        row = self.facts.actions.get(id)
        if row is None or row.state != "done" or row.revision is None or row.cause:
            return False
        rows = self.facts.actions.values()
        undone = any(a.verb == "rollback" and id in a.targets and a.state == "done" for a in rows)
        return row.verb not in ("apply", "rollback") and not undone

    def _relay(self, trouble: Trouble) -> Finding:
        facts = self.facts
        row = facts.relays[trouble.name]
        base = Finding(
            key=_key(trouble), kind=RELAY, name=row.name, word=row.presence or UNKNOWN, what=self._what(trouble),
            mark=row.mark, since=row.since, reason=row.reason or "it was never heard", objects=(row.name,),
            door=("relays",),
        )  # fmt: skip
        if self.brief:
            return base
        proof = [rows.Evidence(kind="relay", text=base.reason, at=row.since, mark=row.mark, door=("relays",))]
        if row.path[1:] or row.upstream:
            above = (row.path[1:] or (row.upstream,))[0]
            upper = facts.relays.get(above)
            if upper is not None and facts.bad_relay(above) is None:
                text = f"{above}, which it is behind, is {upper.presence or 'not watched'}"
                proof.append(rows.Evidence(kind="relay", text=text, door=("relays",)))
        heard = [h for h in facts.hosts.values() if row.name in h.path and not unheard(h)]
        if heard:
            text = f"{plural(len(heard), 'host')} that came by it are heard another way"
            proof.append(rows.Evidence(kind="host", text=text, door=("hosts",)))
        where = f" at {row.address}" if row.address else ""
        cure = evidence.look(f"look at its machine{where}: what runs behind it runs on", "relays")
        return _with(
            base, evidence=tuple(proof), suspects=suspects(facts, row.since, (), (), relays=(row.name,)),
            remedies=(cure,),
        )  # fmt: skip

    def _host(self, trouble: Trouble) -> Finding:
        facts, name = self.facts, trouble.name
        row = facts.hosts.get(name)
        ids = sorted(facts.wrong.silent.get(name, ()))
        if row is None:
            return Finding(
                key=_key(trouble), kind=HOST, name=name, word=UNKNOWN, what=self._what(trouble), mark=UNKNOWN,
                reason="it is not a host of this cluster", objects=(name,), door=("hosts", name),
            )  # fmt: skip
        lost = unheard(row)
        reason = row.reason
        if not lost:
            reason = row.trouble[0] if row.trouble else row.reason
        elif not reason and row.seen is None:
            reason = "never heard"
        mark = row.mark if lost else DRIFT if row.trouble else row.mark if row.mark in BAD else UNKNOWN
        base = Finding(
            key=_key(trouble), kind=HOST, name=name, word=row.presence if lost else "trouble",
            what=self._what(trouble), mark=mark,
            since=row.since if lost else None, reason=reason, objects=(name,), door=("host", name),
        )  # fmt: skip
        if self.brief:
            return base
        proof = evidence.host_facts(facts, row)
        if ids:
            text = f"of {plural(len(ids), 'instance')} there nothing is known; their keeper goes on with them"
            proof.append(rows.Evidence(kind="unknown", text=text, mark=UNKNOWN, door=("instances", name)))
        cures = [evidence.look("what it holds and how it is reached", "host", name)]
        if lost:
            cures.insert(0, evidence.verb("drain", "have its instances elsewhere", "host", (name,)))
        found = suspects(facts, base.since, ids, (name,)) if lost else ()
        return _with(base, evidence=tuple(proof), suspects=found, remedies=tuple(cures))

    def _hosts(self, trouble: Trouble) -> Finding:
        facts, bundle = self.facts, self.graph.bundles[trouble.name]
        first = facts.hosts[bundle.names[0]]
        moments = [facts.hosts[n].since for n in bundle.names]
        since = min((m for m in moments if m is not None), default=None)
        base = Finding(
            key=_key(trouble), kind=HOST, name=bundle.names[0], word=bundle.presence, what=self._what(trouble),
            mark=first.mark, since=since, reason=bundle.reason or "no answer", count=len(bundle.names),
            objects=tuple(bundle.names[:OBJECTS]), door=("hosts",),
        )  # fmt: skip
        if self.brief:
            return base
        proof = evidence.host_facts(facts, first)
        cure = evidence.look("which they are, and how they are reached", "hosts")
        found = suspects(facts, since, (), bundle.names)
        return _with(base, evidence=tuple(proof), suspects=found, remedies=(cure,))

    def _region(self, trouble: Trouble) -> Finding:
        names = sorted(
            h.name for h in self.facts.hosts.values() if h.region == trouble.name and unheard(h)
        )
        first = [self.facts.hosts[n].since for n in names]
        since = min((s for s in first if s is not None), default=None)
        base = Finding(
            key=_key(trouble), kind=REGION, name=trouble.name, word=UNKNOWN, what=self._what(trouble), mark=UNKNOWN,
            since=since, reason=f"all {len(names)} hosts of the region are silent", objects=tuple(names[:OBJECTS]),
            count=len(names), door=("hosts",),
        )  # fmt: skip
        if self.brief:
            return base
        last = max((s for s in first if s is not None), default=None)
        proof = [rows.Evidence(kind="host", text=base.reason, at=since, mark=UNKNOWN, door=("hosts",))]
        if since is not None and last is not None and last - since <= 3 * SLACK:
            text = f"they fell silent within {last - since:.0f} s"
            proof.append(rows.Evidence(kind="host", text=text, at=since, mark=UNKNOWN, door=("hosts",)))
        cure = evidence.look("look at the network between here and there", "hosts")
        return _with(base, evidence=tuple(proof), suspects=suspects(self.facts, since, (), names), remedies=(cure,))

    def _action(self, trouble: Trouble) -> Finding:
        row = self.facts.actions[trouble.name]
        door = ("action", row.id)
        stuck = row.state in ("paused", "interrupted")
        base = Finding(
            key=_key(trouble), kind=ACTION, name=row.id, word=row.state, what=self._what(trouble),
            mark=PAUSED if stuck else evidence.mark_of(row), since=row.started if stuck else row.ended,
            reason=row.note, objects=(row.id,), door=door,
        )  # fmt: skip
        if self.brief:
            return base
        text = row.note or f"nobody says why it is {row.state}"
        proof = rows.Evidence(kind="action", text=text, at=row.ended or row.started, mark=base.mark, door=door)
        cures: list[rows.Remedy] = []
        if stuck:
            cures = [evidence.verb("resume", "let it go on", "action", (row.id,)),
                     evidence.verb("abort", "end it, and return to what was before", "action", (row.id,))]
        return _with(base, evidence=(proof,), remedies=(*cures, evidence.look("step by step", *door)))

    def _odd(self, trouble: Trouble) -> Finding:
        drift = self.facts.drift[trouble.name]
        reason = drift.reason or f"expected {drift.expected or 'nothing'}, found {drift.actual or 'nothing'}"
        target = drift.target
        door = ("instances", target) if target in self.facts.nodes else ("instances", target.rpartition("/")[0])
        proof = rows.Evidence(kind="drift", text=reason, at=drift.since, mark=DRIFT, door=door)
        return Finding(
            key=_key(trouble), kind=SERVICE if target in self.facts.nodes else rows.INSTANCE, name=target,
            word=drift.kind, what=self._what(trouble), mark=UNKNOWN if drift.kind == "unknown" else DRIFT,
            since=drift.since, reason=reason, objects=(target,), evidence=(proof,), door=door,
            remedies=(evidence.verb("converge", "make it as expected", "node", (target,)),),
        )  # fmt: skip

    # several that are each other's cause

    def _ring(self, knot: Knot) -> Finding:
        parts = [self._one(t) for t in knot if t.kind != SERVICE]
        worst = max(parts, key=lambda f: (BADNESS.get(f.mark, 0), f.key))
        dates = [f.since for f in parts if f.since is not None]
        first = min(parts, key=lambda f: (f.since if f.since is not None else float("inf"), f.key))
        what = self._ring_what([t for t in knot if t.kind != SERVICE])
        return Finding(
            key=" ".join(f.key for f in parts), kind=first.kind, name=first.name, word=first.word, what=what,
            mark=worst.mark, since=min(dates, default=None), reason=first.reason, count=sum(f.count for f in parts),
            objects=tuple(sorted({o for f in parts for o in f.objects}))[:OBJECTS],
            evidence=tuple(e for f in parts for e in f.evidence), suspects=first.suspects,
            remedies=first.remedies, door=first.door,
        )  # fmt: skip

    def _ring_what(self, troubles: Sequence[Trouble]) -> str:
        names = list(dict.fromkeys(self.facts.short(t.name) for t in troubles))
        if len(names) == 1:
            return self._what(troubles[0])
        return f"{', '.join(names[:-1])} and {names[-1]} call each other and are unwell: which was first is not known"


def _key(trouble: Trouble) -> str:
    return f"{trouble.kind} {' '.join(trouble.sort)}".rstrip() if trouble.sort else f"{trouble.kind} {trouble.name}"


def _with(finding: Finding, **more: object) -> Finding:
    return msgspec.structs.replace(finding, **more)
