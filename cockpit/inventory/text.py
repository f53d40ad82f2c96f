"""Expected data with comments as the text of a topology file, fresh or onto an existing one."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from cockpit.inventory.build import Built, Comments, spot
from cockpit.inventory.found import Remark
from cockpit.model.export import export_new, export_onto
from cockpit.model.load import load_text
from cockpit.model.nodes import MAP, Node, compose
from cockpit.model.problems import BadTopology
from cockpit.model.topology import Expected, Host, Service

_WIDTH = 118
_MOST_REMARKS = 300


class Summary(msgspec.Struct):
    """What an import does to an existing file. Names are `host web1`, `service shop.web`."""

    added: list[str] = []
    same: list[str] = []
    different: list[str] = []
    """With what differs: kept as they were, or replaced when that was asked for."""


class Clash(Exception):
    """The import and the file together are no topology."""


def fresh(built: Built, title: str) -> str:
    head = [
        f"Imported from {title}.",
        "Nothing changes hands by this: what runs there goes on under what runs it now.",
        "",
        "Check it: cockpit check FILE      See what it would change: cockpit plan apply FILE",
    ]
    lines = [f"# {line}".rstrip() for line in head]
    if built.remarks:
        lines += ["#", "# Not understood, or left out:", *_remarks(built.remarks)]
    body = annotated(export_new(built.expected), built.comments)
    return "\n".join(_clean(line) for line in lines) + "\n\n" + body


def onto(text: str, file: str, built: Built, *, overwrite: bool = False) -> tuple[str, Summary]:
    """The file's text with what is new; what is there stays unless `overwrite`. Raises BadTopology, Clash."""
    now = load_text(text.encode(), file).expected
    summary = Summary()
    renamed = _known_addresses(now, built)
    hosts, services = dict(now.hosts), dict(now.services)
    fresh_paths: list[tuple[str, ...]] = []
    for name, host in built.expected.hosts.items():
        if name in renamed:
            summary.same.append(f"host {name} (it is {renamed[name]} in the file, by its address)")
        elif name not in hosts:
            hosts[name] = _apart(host, hosts)
            summary.added.append(f"host {name}")
            fresh_paths.append(("hosts", name))
        elif hosts[name] == host:
            summary.same.append(f"host {name}")
        else:
            summary.different.append(f"host {name}: {_differs(hosts[name], host)}")
            hosts[name] = host if overwrite else hosts[name]
    groups = dict(now.groups)
    for path, service in built.expected.services.items():
        service = _on(service, renamed)
        above = [".".join(path.split(".")[:n]) for n in range(1, path.count(".") + 1)]
        if path in now.groups or any(a in now.services for a in above):
            what = "group" if path in now.groups else "service"
            summary.different.append(f"service {path}: the tree has a {what} there")
            continue
        known = services.get(path)
        groups.update({a: built.expected.groups[a] for a in above if a not in groups})
        if known is None:
            services[path] = service
            summary.added.append(f"service {path}")
            fresh_paths.append(spot(path))
        elif known == service:
            summary.same.append(f"service {path}")
        elif (grown := _grown(known, service)) is not None:
            more = (grown.instances.hosts or ())[len(known.instances.hosts or ()) :]
            summary.added += [f"service {path} on {h}" for h in more]
            summary.same += [f"service {path}"] if not more else []
            services[path] = grown
        else:
            summary.different.append(f"service {path}: {_differs(known, service)}")
            services[path] = service if overwrite else known
    regions = now.regions | {h.region: built.expected.regions[h.region] for h in hosts.values()
                             if h.region not in now.regions}  # fmt: skip
    merged = replace(now, hosts=hosts, services=services, regions=regions, groups=groups)
    result = annotated(export_onto(text, merged), {k: v for k, v in built.comments.items() if k in fresh_paths})
    try:
        load_text(result.encode(), file)
    except BadTopology as e:
        raise Clash(str(e)) from None
    return result, summary


def _known_addresses(now: Expected, built: Built) -> dict[str, str]:
    """Imported host -> the one host of the file under another name that is the same machine."""
    def way(host: Host) -> tuple[str, int, tuple[str, ...]]:
        return (host.address, host.ssh.port if host.ssh else 22, host.ssh.jump if host.ssh else ())

    there: dict[tuple[str, int, tuple[str, ...]], list[str]] = {}
    for name, host in now.hosts.items():
        there.setdefault(way(host), []).append(name)
    out = {}
    for name, host in built.expected.hosts.items():
        found = there.get(way(host), [])
        if not found and way(host)[1:] == (22, ()):  # the way in may stand in ssh_config alone
            found = [n for n, h in now.hosts.items() if h.address == host.address]
        if name not in now.hosts and len(found) == 1:
            out[name] = found[0]
    return out


def _apart(host: Host, hosts: dict[str, Host]) -> Host:
    """With dynamic ports that no host of the same address has."""
    taken = [h.port_range for h in hosts.values() if h.address == host.address]
    low, high = host.port_range
    while any(a <= high and low <= b for a, b in taken) and high + 1000 <= 65535:
        low, high = low + 1000, high + 1000
    return replace(host, port_range=(low, high))


def _on(service: Service, renamed: dict[str, str]) -> Service:
    hosts = service.instances.hosts
    if not hosts or not set(hosts) & renamed.keys():
        return service
    return replace(service, instances=replace(service.instances, hosts=tuple(renamed.get(h, h) for h in hosts)))


def _grown(known: Service, new: Service) -> Service | None:
    """The known one with the new one's hosts, when nothing else differs and no slot number is involved."""
    if replace(known, instances=new.instances) != new:
        return None
    if new.instances.hosts is None:
        return known if new.instances.count == 0 else None
    had = known.instances.hosts
    if had is None and known.instances.count == 0:
        had = ()
    texts = [*new.processes.get("main", ()), *msgspec.to_builtins(new.runtime or {}).values(), *new.env.values()]
    slotted = any("{slot}" in t for t in texts if isinstance(t, str))
    if had is None or (slotted and had and set(new.instances.hosts) != set(had)):
        return None
    if slotted and had:
        return known if len(had) == len(new.instances.hosts) else None
    more = tuple(h for h in new.instances.hosts if h not in had)
    return replace(known, instances=replace(new.instances, hosts=had + more))


def _differs(a: Host | Service, b: Host | Service) -> str:
    names = [f.name for f in msgspec.structs.fields(a) if getattr(a, f.name) != getattr(b, f.name)]
    return "differs in " + ", ".join(names)


def annotated(text: str, comments: Comments) -> str:
    """The text with comment lines above the entries at these paths, where these stand on their own line."""
    root = compose(text, "topology")
    lines = text.splitlines()
    above: dict[int, list[str]] = {}
    for path, notes in comments.items():
        key = _key(root, path)
        if key is not None and not lines[key.line - 1][: key.column - 1].strip():
            pad = " " * (key.column - 1)
            above[key.line - 1] = [line for note in notes for line in _wrapped(note, pad + "# ", pad + "#   ")]
    out: list[str] = []
    for number, line in enumerate(lines):
        out += above.get(number, [])
        out.append(line)
    return "\n".join(out) + "\n"


def _key(node: Node, path: tuple[str, ...]) -> Node | None:
    key = None
    for part in path:
        if node.kind != MAP:
            return None
        pair = next(((k, v) for k, v in node.pairs if k.text == part), None)
        if pair is None:
            return None
        key, node = pair
    return key


def _remarks(remarks: Iterable[Remark]) -> list[str]:
    every = sorted(set(remarks))
    lines = [line for r in every[:_MOST_REMARKS] for line in _wrapped(str(r), "#   ", "#     ")]
    return lines + ([f"#   and {len(every) - _MOST_REMARKS} more"] if len(every) > _MOST_REMARKS else [])


def _wrapped(text: str, first: str, next_: str) -> list[str]:
    return textwrap.wrap(
        _clean(text), _WIDTH, initial_indent=first, subsequent_indent=next_, break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]  # fmt: skip


def _clean(text: str) -> str:
    """Nothing that would end a comment or that a file may not hold."""
    return "".join(c if c.isprintable() else "?" for c in text)
