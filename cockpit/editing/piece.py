"""One node's lines of a topology file: found, taken out, put back. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from cockpit.model.names import near
from cockpit.model.nodes import LIST, MAP, SCALAR, Node, compose
from cockpit.plan.steps import Bad

NODE, HOST, RELAY, REGION, SCHEDULE, GUARD, SECTION = (
    "node", "host", "relay", "region", "schedule", "guard", "section",
)  # fmt: skip
_SECTIONS = {"hosts": HOST, "relays": RELAY, "regions": REGION, "schedules": SCHEDULE, "guards": GUARD}
WHOLE = "topology"
_FILE = "topology"


class Spot(msgspec.Struct, frozen=True):
    """A place in the text: offsets of whole lines, and how far they are indented."""

    start: int
    end: int
    indent: int


class Piece(msgspec.Struct, frozen=True):
    kind: str
    name: str
    """Full name: `puzzle.web`, `sh-1`; `topology` for the whole file."""
    spot: Spot
    text: str
    """Its lines without their indentation, with the comments right above; the last one ends with a line break."""
    line: int
    """Of the first one in the whole text, from 1."""

    def within(self, line: int, column: int) -> tuple[int, int] | None:
        """A place of the whole text (with this piece in it) in the piece; None when it is elsewhere."""
        at = line - self.line
        return (at + 1, max(1, column - self.spot.indent)) if 0 <= at < self.text.count("\n") else None


def put(text: str, piece: Piece, new: str) -> tuple[str, Piece]:
    """The whole text with other lines in the place of the piece, and the piece as it is then."""
    lines = new.splitlines()
    inside = "".join((" " * piece.spot.indent + line if line.strip() else "") + "\n" for line in lines)
    spot = Spot(piece.spot.start, piece.spot.start + len(inside), piece.spot.indent)
    whole = text[: piece.spot.start] + inside + text[piece.spot.end :]
    return whole, msgspec.structs.replace(piece, spot=spot, text="".join(line + "\n" for line in lines))


def find(text: str, name: str, kind: str = "") -> Piece:
    """The piece of a tree node, an instance's service, host, relay, region, schedule, guard or section.

    `kind` chooses where names are the same. Raises Bad with near names; BadTopology when the text is no YAML.
    """
    if name == WHOLE:
        return _piece(text, Spot(0, len(text), 0), SECTION, WHOLE)
    root = compose(text, _FILE)
    known: dict[tuple[str, str], list[Spot]] = {}
    for each, full, spots in _all(text, root):
        known.setdefault((each, full), spots)
    wish = name.partition("/")[0]
    order = [kind] if kind else [NODE, HOST, RELAY, REGION, SCHEDULE, GUARD, SECTION]
    for each in order:
        names = [n for k, n in known if k == each]
        found = [n for n in names if n == wish] or [n for n in names if each == NODE and n.endswith("." + wish)]
        if len(found) > 1:
            raise Bad(f"{name!r} is ambiguous: {', '.join(found[:8])}")
        if found:
            return _piece(text, known[each, found[0]][0], each, found[0])
    raise Bad(f"nothing to edit is called {name!r}" + near(wish, [n for k, n in known if k in order]))


def _piece(text: str, spot: Spot, kind: str, name: str) -> Piece:
    pad = " " * spot.indent
    lines = text[spot.start : spot.end].splitlines(keepends=True)
    cut = (x[spot.indent :] if x.startswith(pad) else x.lstrip(" ") for x in lines)
    inside = "".join(cut).replace("\r\n", "\n")
    line = text.count("\n", 0, spot.start) + 1
    return Piece(kind, name, spot, inside if inside.endswith("\n") else inside + "\n", line)


def _all(text: str, root: Node) -> Iterator[tuple[str, str, list[Spot]]]:
    """Kind, full name, and the places that hold it, the smallest first; the last one is the whole text."""
    whole = [Spot(0, len(text), 0)]
    for key, value in _pairs(root):
        above = [*_lines(text, key, value), *whole]
        yield SECTION, key.text, above
        if key.text == "tree":
            yield from _tree(text, value, "", above)
        elif key.text in _SECTIONS and value.kind == MAP:
            for inner, facts in _pairs(value):
                yield _SECTIONS[key.text], inner.text, [*_lines(text, inner, facts), *above]
        elif key.text in _SECTIONS and value.kind == LIST:
            for item in value.items:
                names = [v.text for k, v in _pairs(item) if k.text == "name"]
                if names:
                    yield _SECTIONS[key.text], names[0], [*_lines(text, item, item), *above]


def _tree(text: str, node: Node, path: str, above: list[Spot]) -> Iterator[tuple[str, str, list[Spot]]]:
    for key, value in _pairs(node):
        mine = [*_lines(text, key, value), *above]
        yield NODE, path + key.text, mine
        for inner, children in _pairs(value):
            if inner.text == "children":
                yield from _tree(text, children, f"{path}{key.text}.", mine)


def _pairs(node: Node) -> list[tuple[Node, Node]]:
    own = [] if node.alias or node.kind != MAP else node.pairs
    return [(k, v) for k, v in own if k.kind == SCALAR and k.type != "merge"]


def _lines(text: str, first: Node, last: Node) -> list[Spot]:
    """Its whole lines, with comments right above; none when something else stands on them."""
    start = text.rfind("\n", 0, first.start) + 1
    before = text[start : first.start]
    lead = before.replace("-", " ", 1) if first is last else before
    end = _tail(text, last)
    stop = text.find("\n", max(end, first.end))
    stop = len(text) if stop < 0 else stop + 1
    rest = text[max(end, first.end) : stop].strip() if last.end >= first.end else ""
    if lead.strip() or (rest and not rest.lstrip(":").lstrip().startswith("#") and rest != ":"):
        return []
    indent = len(before) - len(before.lstrip()) if first is last else len(before)
    while start > 0:
        above = text.rfind("\n", 0, start - 1) + 1
        line = text[above:start]
        if not line.startswith(" " * indent + "#"):
            break
        start = above
    return [Spot(start, stop, indent)]


def _tail(text: str, node: Node) -> int:
    """Where the last thing inside ends."""
    inner = [*node.items, *(n for pair in node.pairs for n in pair)]
    if node.flow and not node.literal or node.alias or not inner:
        end = node.end
        while end > node.start and text[end - 1].isspace():
            end -= 1
        return end
    return max(_tail(text, n) for n in inner)
