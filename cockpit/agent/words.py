"""The built-in words of an agent, as entries of the registry (the table in docs/protocols.md)."""

from __future__ import annotations

import functools
from typing import Callable, Dict

from cockpit.agent.builtin.artifacts import Artifacts
from cockpit.agent.builtin.data import ActiveData
from cockpit.agent.builtin.host import Handlers, Host, translated
from cockpit.agent.builtin.host_words import HostWords, head_of
from cockpit.agent.builtin.lines import Lines
from cockpit.agent.builtin.units import Units
from cockpit.agent.tasks import Word

__all__ = ["Host", "Words", "head_of"]

MODULES: Dict[str, Callable[[Host], Handlers]] = {
    "artifacts": Artifacts, "units": Units, "data": ActiveData, "lines": Lines, "host": HostWords,
}
"""Name of the built-in plug-in -> what makes its words."""


class Words:
    """The handlers of one agent."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def modules(self) -> Dict[str, Dict[str, Word]]:
        """Built-in plug-in -> word -> handler."""
        return {
            name: {word: functools.partial(translated, handler) for word, handler in make(self._host).table().items()}
            for name, make in MODULES.items()
        }

    def table(self) -> Dict[str, Word]:
        """All of them."""
        return {word: handler for words in self.modules().values() for word, handler in words.items()}
