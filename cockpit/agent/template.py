"""Templates in argv and environment: `{port}`, `{data.NAME}`, ...; `{{` is a brace."""

from __future__ import annotations

import difflib
import re
from typing import Mapping

_PART = re.compile(r"\{\{|\{([^{}]*)\}|\{")


class TemplateError(ValueError):
    """A placeholder that means nothing; the text says where and names the nearest one."""


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replace every placeholder. Raises TemplateError for an unknown or unfinished one."""

    def one(match: "re.Match[str]") -> str:
        if match.group() == "{{":
            return "{"
        name = match.group(1)
        if name is None:
            raise TemplateError(f"{text!r}: a brace is not closed; write {{{{ for a plain one")
        if name in values:
            return values[name]
        near = difflib.get_close_matches(name, values, 1)
        hint = f"did you mean {{{near[0]}}}?" if near else f"known are {', '.join(sorted(values))}"
        raise TemplateError(f"{text!r}: {{{name}}} means nothing here; {hint}")

    return _PART.sub(one, text)


def data_values(paths: Mapping[str, str]) -> "dict[str, str]":
    """`data.NAME` for each: the path of its link."""
    return {f"data.{name}": path for name, path in paths.items()}


def port_values(ports: Mapping[str, int]) -> "dict[str, str]":
    """`port.NAME` for each, and `port` when there is exactly one."""
    values = {f"port.{name}": str(number) for name, number in ports.items()}
    if len(ports) == 1:
        values["port"] = str(next(iter(ports.values())))
    return values
