"""Kinds of values in the topology file. Each reads a node, writes plain data, and gives its schema.

One spelling for three uses: `fields` combines these into the table of the whole file, the loader
reads with it, the exporter writes with it, and the editor schema is derived from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from cockpit.model.nodes import LIST, MAP, SCALAR, Node, entries
from cockpit.model.problems import Path, Report, Wrong, nearest

Doc = dict[str, Any]
MOST_TEXT = 32 * 1024


class Block(dict[str, Any]):
    """A mapping that is always written one entry a line."""


class _Bad:
    """Stands for a value that was complained about."""

    def __repr__(self) -> str:
        return "BAD"


BAD: Final = _Bad()


class Kind:
    what = "a value"
    """For messages: `expected WHAT, found ...`."""

    def read(self, node: Node, path: Path, to: Report) -> Any:
        """The typed value, or BAD after a report."""
        raise NotImplementedError

    def write(self, value: Any) -> Any:
        """Plain data that reads back as the value."""
        raise NotImplementedError

    def schema(self) -> Doc:
        raise NotImplementedError

    def fits(self, value: Any) -> bool:
        """False when the value cannot be written in this kind (another key of the table takes it)."""
        return True

    def kind_of(self, value: Any) -> Kind:
        """The kind that takes this value, where one of several may."""
        return self

    def unexpected(self, node: Node, path: Path, to: Report) -> _Bad:
        to.problem(path, f"expected {self.what}, found {node.words()}", at=node)
        return BAD


class Scalar(Kind):
    """One scalar. `types` are YAML's readings of it that are taken; `parse` gets it as written."""

    def __init__(
        self,
        what: str,
        schema: Doc,
        *,
        types: tuple[str, ...] = ("str",),
        parse: Callable[[str], Any] = str,
        show: Callable[[Any], Any] = lambda value: value,
    ) -> None:
        self.what = what
        self._schema = schema
        self._types = types
        self._parse = parse
        self._show = show

    def read(self, node: Node, path: Path, to: Report) -> Any:
        if node.kind != SCALAR or node.type not in self._types:
            return self.unexpected(node, path, to)
        try:
            return self._parse(node.text)
        except Wrong as e:
            to.problem(path, str(e), e.hint, at=node)
            return BAD

    def write(self, value: Any) -> Any:
        return self._show(value)

    def schema(self) -> Doc:
        return dict(self._schema)


AS_WRITTEN = ("str", "int", "float", "bool", "timestamp", "value")
"""Text that need not be quoted: `version: 1.10`, `DEBUG: 1`."""


def text(what: str = "text", *, pattern: str = "", loose: bool = False, empty: bool = True) -> Scalar:
    schema: Doc = {"type": ["string", "number", "boolean"] if loose else "string"}
    if pattern:
        schema["pattern"] = pattern
    elif not empty:
        schema["minLength"] = 1

    def parse(written: str) -> str:
        if len(written) > MOST_TEXT:
            raise Wrong(f"longer than {MOST_TEXT} characters")
        if "\0" in written or any("\ud800" <= c <= "\udfff" for c in written):
            raise Wrong("NUL and lone surrogates are not text")
        if not written and not empty:
            raise Wrong(f"expected {what}, found an empty text")
        if pattern and not re.fullmatch(pattern, written):
            raise Wrong(f'"{written[:60]}" is not {what}')
        return written

    return Scalar(what, schema, types=AS_WRITTEN if loose else ("str",), parse=parse)


def integer(what: str, low: int, high: int) -> Scalar:
    def parse(written: str) -> int:
        if not re.fullmatch(r"^[-+]?(0|[1-9][0-9]{0,18})$", written):
            raise Wrong(f"{written[:40]} is not a plain decimal number")
        if not low <= int(written) <= high:
            raise Wrong(f"{written} is not {what} between {low} and {high}")
        return int(written)

    return Scalar(what, {"type": "integer", "minimum": low, "maximum": high}, types=("int",), parse=parse)


def truth(*, only_true: bool = False) -> Scalar:
    def parse(written: str) -> bool:
        word = written.lower()
        if word not in ("true", "false"):
            raise Wrong(f"{written} is not true or false", "true" if word in ("yes", "on") else "false")
        if only_true and word == "false":
            raise Wrong("say true, or leave it out")
        return word == "true"

    schema = {"const": True} if only_true else {"type": "boolean"}
    return Scalar("true" if only_true else "true or false", schema, types=("bool",), parse=parse)


def word(*choices: str) -> Scalar:
    what = "one of " + ", ".join(choices)

    def parse(written: str) -> str:
        if written not in choices:
            raise Wrong(f'"{written[:40]}" is not {what}', nearest(written, choices))
        return written

    return Scalar(what, {"enum": list(choices)}, parse=parse)


class Either(Kind):
    """A literal word with a value of its own, or another kind: `dynamic`, `unlimited`, `true`."""

    def __init__(self, literal: str | bool, value: Any, other: Kind) -> None:
        self.literal, self.value, self.other = literal, value, other
        self.what = f"{self._written} or {other.what}"

    @property
    def _written(self) -> str:
        return self.literal if isinstance(self.literal, str) else "true"

    def read(self, node: Node, path: Path, to: Report) -> Any:
        kind = "str" if isinstance(self.literal, str) else "bool"
        if node.kind == SCALAR and node.type == kind and node.text.lower() == self._written:
            return self.value
        if node.kind != SCALAR or node.type in ("null", "bool"):
            return self.unexpected(node, path, to)
        if node.type == "str" == kind and not node.text[:1].isdigit():
            near = to.near(node.text, [self._written])
            to.problem(path, f'"{node.text[:40]}" is not {self.what}', near, at=node)
            return BAD
        return self.other.read(node, path, to)

    def write(self, value: Any) -> Any:
        return self.literal if value == self.value else self.other.write(value)

    def schema(self) -> Doc:
        return {"anyOf": [{"const": self.literal}, self.other.schema()]}


class ListOf(Kind):
    def __init__(self, item: Kind, what: str, *, least: int = 0, unique: bool = False) -> None:
        self.item, self.what, self.least, self.unique = item, what, least, unique

    def read(self, node: Node, path: Path, to: Report) -> Any:
        if node.kind != LIST:
            return self.unexpected(node, path, to)
        if len(node.items) < self.least:
            to.problem(path, f"expected {self.what}, found an empty list", at=node)
            return BAD
        values: list[Any] = []
        for n, item in enumerate(node.items):
            inner = (*path, str(n))
            to.place(inner, item, item)
            value = self.item.read(item, inner, to)
            if self.unique and value is not BAD and value in values:
                to.problem(inner, f'"{item.text}" is listed twice', at=item)
            values.append(value)
        return BAD if BAD in values else tuple(values)

    def write(self, value: Any) -> Any:
        return [self.item.write(v) for v in value]

    def schema(self) -> Doc:
        schema: Doc = {"type": "array", "items": self.item.schema()}
        if self.least:
            schema["minItems"] = self.least
        if self.unique:
            schema["uniqueItems"] = True
        return schema


class MapOf(Kind):
    """Names to values of one kind. `name` is (pattern, words); with `block`, one entry a line."""

    def __init__(
        self, name: tuple[str, str], value: Kind, what: str, *, block: bool = False, least: int = 0
    ) -> None:
        self.pattern, self.name_words = name
        self.value, self.what, self.block, self.least = value, what, block, least

    def read(self, node: Node, path: Path, to: Report) -> Any:
        if node.kind != MAP:
            return self.unexpected(node, path, to)
        found = entries(node, path, to)
        if len(found) < self.least:
            to.problem(path, f"expected {self.what}, found an empty mapping", at=node)
            return BAD
        values = {}
        for key, (key_node, value_node) in found.items():
            inner = (*path, key)
            to.place(inner, key_node, value_node)
            if not re.fullmatch(self.pattern, key):
                text = f'"{key[:60]}" is not {self.name_words}'
                to.problem(inner, text, _tidy(key, self.pattern), at=key_node)
            value = self.value.read(value_node, inner, to)
            if value is not BAD:
                values[key] = value
        return values

    def write(self, value: Any) -> Any:
        plain = {k: self.value.write(v) for k, v in value.items()}
        return Block(plain) if self.block else plain

    def schema(self) -> Doc:
        schema: Doc = {
            "type": "object",
            "patternProperties": {self.pattern: self.value.schema()},
            "additionalProperties": False,
        }
        return schema | ({"minProperties": self.least} if self.least else {})


def _tidy(key: str, pattern: str) -> str:
    """The nearest name that the pattern allows."""
    name = re.sub(r"[^a-z0-9_.-]+", "-", key.lower()).strip("-_.")
    return name if re.fullmatch(pattern, name) else ""


class Field(msgspec.Struct, frozen=True):
    """One key of a mapping in the file."""

    key: str
    kind: Kind
    about: str
    """The description that editors show."""
    attribute: str = ""
    """Of the struct, when it is not the key."""
    fill: Any = BAD
    """Makes the key required; stands in for it when it is missing or bad, so that checks go on."""
    default: Any = None
    """As written in the file, for the description."""

    @property
    def name(self) -> str:
        return self.attribute or self.key


class Object(Kind):
    """A mapping with the keys of the table, read into a struct.

    `short` is (kind, attribute): a file may write that value alone for a mapping with nothing else.
    """

    def __init__(
        self,
        struct: type[msgspec.Struct],
        what: str,
        fields: tuple[Field, ...],
        *,
        short: tuple[Kind, str] | None = None,
        none: bool = False,
        block: bool = False,
        instead: Mapping[str, str] | None = None,
        refused: Mapping[str, str] | None = None,
    ) -> None:
        self.struct, self.what, self.fields, self.short = struct, what, fields, short
        self.none, self.block = none, block
        self.table = {f.key: f for f in fields}
        self.instead = instead or {}
        """Words of other tools for keys of ours."""
        self.refused = refused or {}
        """What to say of keys that belong elsewhere."""
        self.defaults = {
            f.name: f.default_factory() if f.default_factory is not msgspec.NODEFAULT else f.default
            for f in msgspec.structs.fields(struct)
        }

    def read(self, node: Node, path: Path, to: Report) -> Any:
        if self.none and node.type == "null" and node.kind == SCALAR:
            return self.struct()
        if self.short is not None and node.kind != MAP:
            kind, attribute = self.short
            if node.kind == SCALAR and node.type != "null":
                value = kind.read(node, path, to)
                return BAD if value is BAD else self.struct(**{attribute: value})
        if node.kind != MAP:
            return self.unexpected(node, path, to)
        return self.make(self.values(node, path, to), path, to, node)

    def values(self, node: Node, path: Path, to: Report) -> dict[str, Any]:
        """Key -> typed value or BAD, for the known keys that are written."""
        values: dict[str, Any] = {}
        for key, (key_node, value_node) in entries(node, path, to).items():
            inner = (*path, key)
            to.place(inner, key_node, value_node)
            known = self.table.get(key)
            if known is None:
                text = self.refused.get(key) or f'unknown key "{key[:60]}" in {self.what}'
                near = self.instead.get(key) or to.near(key, self.table)
                to.problem(inner, text, near, at=key_node)
                if near in self.table:  # it is there, misspelt: not to be called missing as well
                    values.setdefault(near, BAD)
                    to.taint((*path, near))
            else:
                values[key] = known.kind.read(value_node, inner, to)
        return values

    def make(self, values: dict[str, Any], path: Path, to: Report, node: Node) -> Any:
        """The struct. Missing and bad values become defaults, so that one pass finds everything."""
        taken = {self.table[k].name: v for k, v in values.items() if v is not BAD}
        for field in self.fields:
            if field.fill is not BAD and field.name not in taken:
                taken[field.name] = field.fill
                if field.key not in values:
                    to.problem(path, f'{self.what} needs "{field.key}"', at=None if path else node)
        return self.struct(**taken)

    def entries(self, value: Any) -> dict[str, tuple[Field, Any]]:
        """Key -> (field, value) of what must be written: required, or not the default."""
        found = {}
        for field in self.fields:
            held = getattr(value, field.name)
            needed = field.fill is not BAD or held != self.defaults[field.name]
            if needed and field.kind.fits(held):
                found[field.key] = (field, held)
        return found

    def write(self, value: Any) -> Any:
        found = self.entries(value)
        if self.short is not None:
            kind, attribute = self.short
            if [f.name for f, _ in found.values()] == [attribute]:
                return kind.write(getattr(value, attribute))
        plain = {key: field.kind.write(held) for key, (field, held) in found.items()}
        return Block(plain) if self.block else plain

    def schema(self) -> Doc:
        schema: Doc = {
            "type": ["object", "null"] if self.none else "object",
            "properties": {f.key: described(f) for f in self.fields},
            "additionalProperties": False,
        }
        required = [f.key for f in self.fields if f.fill is not BAD]
        if required:
            schema["required"] = required
        return {"anyOf": [self.short[0].schema(), schema]} if self.short else schema


def described(field: Field) -> Doc:
    schema: Doc = {"description": field.about} | field.kind.schema()
    return schema | ({"default": field.default} if field.default is not None else {})
