"""Command word -> what does it. Built-in modules and plug-ins are entries alike."""

from __future__ import annotations

from typing import Dict, Iterator, List, Mapping, Tuple

from cockpit.agent.tasks import CommandError, Word


class Registry(Mapping[str, Word]):
    """A live mapping: commands look here when they come."""

    def __init__(self) -> None:
        self._words: Dict[str, Tuple[str, Word]] = {}

    def __getitem__(self, word: str) -> Word:
        return self._words[word][1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._words)

    def __len__(self) -> int:
        return len(self._words)

    def owner(self, word: str) -> str:
        """Name of the plug-in; empty when nobody has it."""
        found = self._words.get(word)
        return found[0] if found is not None else ""

    def check(self, owner: str, words: List[str]) -> None:
        """Raises CommandError `clash` when one of them is another's."""
        for word in words:
            other = self.owner(word)
            if other and other != owner:
                raise CommandError("clash", f"{owner}: the word {word} is {other}'s already; take another")

    def put(self, owner: str, words: Mapping[str, Word]) -> None:
        """These are the owner's words from now on. Raises CommandError `clash`; then nothing has changed."""
        self.check(owner, list(words))
        self.drop(owner)
        for word, handler in words.items():
            self._words[word] = (owner, handler)

    def drop(self, owner: str) -> None:
        self._words = {word: entry for word, entry in self._words.items() if entry[0] != owner}
