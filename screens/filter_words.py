"""Words that may follow in the filter of an address: names of fields, and values that rows have. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import chain, islice
from typing import Any

from cockpit.model.problems import Wrong
from cockpit.model.view import MARKS
from screens.board import Board
from screens.fields import SCHEMAS, schema_of
from screens.query import field_of
from screens.typed import FLAG, MANY, PATH, TEXT, VERSION, Field, Schema, natural_key, version_key

LOOKED = 5000
"""Rows whose values are looked at: a key must not wait for a hundred thousand."""
MOST = 100
"""Values of one field."""
_CONDITION = re.compile(r"(!*)([A-Za-z_][\w./-]*?)(!=|>=|<=|==|=|>|<)(.*)")


def _rows(name: str, board: Board) -> Iterable[Any]:
    """Rows of a screen's table, as far as the board holds them."""
    tables: dict[str, tuple[dict[str, Any], ...]] = {
        "overview": (board.instances, board.nodes), "instances": (board.instances,), "hosts": (board.hosts,),
        "relays": (board.relays,), "actions": (board.actions,), "naming": (board.endpoints,),
    }  # fmt: skip
    return islice(chain.from_iterable(t.values() for t in tables.get(name, ())), LOOKED)


def filter_words(name: str, begun: str, board: Board) -> list[str]:
    """What the word that was begun in a filter of this screen may become; whole words, none with a blank."""
    if name not in SCHEMAS:
        return []
    schema = schema_of(name, board)
    found = _CONDITION.fullmatch(begun)
    if found is None:
        lead = begun[: len(begun) - len(begun.lstrip("!"))]
        low = begun.lstrip("!").lower()
        names = [n if n.endswith(".") else f"{n}=" for n in _names(name, low, schema, board)]
        marks = [m for m in MARKS if low] if schema.mark is not None else []
        return [lead + word for word in (*names, *marks) if word.startswith(low)]
    lead, field, op, value = found.groups()
    try:
        of = field_of(field, schema)
    except Wrong:
        return []
    return [f"{lead}{field}{op}{v}" for v in _values(of, value.lower(), _rows(name, board))]


def _names(name: str, low: str, schema: Schema, board: Board) -> list[str]:
    out = schema.names()
    if schema.mark is not None:
        out.append("mark")
    if "." in low:
        from screens.paths import complete, kinds_of

        out += complete(low, kinds_of(name, {}), board, _rows(name, board))
    if schema.labels is not None and low.startswith("l"):
        labels = schema.labels
        out += sorted({f"label.{key}" for row in _rows(name, board) for key in labels(row)})
    return out


def _values(field: Field, low: str, rows: Iterable[Any]) -> list[str]:
    """Of fields whose values are words, in their order."""
    if field.kind == FLAG:
        return [w for w in ("yes", "no") if w.startswith(low)]
    if field.kind not in (TEXT, PATH, MANY, VERSION):
        return []
    seen: set[str] = set()
    for row in rows:
        value = field.get(row)
        for word in value if field.kind == MANY and value else (value,):
            if isinstance(word, str) and word and word.lower().startswith(low):
                seen.add(word)
        if len(seen) >= MOST:
            break
    plain = [w for w in seen if not any(c.isspace() or c in "\"'" for c in w)]
    return sorted(plain, key=version_key if field.kind == VERSION else natural_key)
