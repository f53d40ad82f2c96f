"""Which names fit what was typed, the best first: substrings found at the speed of `str.find`, then a score. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

FEW = 300
"""Names of a large pool that are looked at closely."""


def score(query: str, text: str) -> float:
    """How well `text` fits, 0: not. Every word of the query must be found, as a part or letter by letter."""
    low = text.lower()
    total = 0.0
    for word in query.lower().split():
        one = _word(word, low)
        if not one:
            return 0.0
        total += one
    return total / (1 + len(low) / 200)


def _word(word: str, low: str) -> float:
    if low == word:
        return 200.0
    at = low.find(word)
    best = 0.0
    while at >= 0:  # the best of several places: the start of the text, then the start of a word
        fits = 100.0 if at == 0 else 80.0 if not low[at - 1].isalnum() else 50.0
        end = at + len(word)
        if end == len(low) or not low[end].isalnum():
            fits += 30.0
        best = max(best, fits - at / 50)
        at = low.find(word, at + 1)
    return best or _letters(word, low)


def _letters(word: str, low: str) -> float:
    """All letters in this order: starts of words and neighbours count more. At most 40."""
    at, total = -1, 0.0
    for letter in word:
        new = low.find(letter, at + 1)
        if new < 0:
            return 0.0
        start = new == 0 or not low[new - 1].isalnum()
        total += 1.0 if new == at + 1 else 0.9 if start else 0.3
        at = new
    share = total / len(word)
    return 40.0 * share if share > 0.6 or len(word) < 3 else 0.0


def best(query: str, names: Iterable[tuple[str, float]], most: int) -> list[int]:
    """Positions of the names that fit, the best first. Each name has a weight that its score is multiplied by."""
    found = []
    for number, (name, weight) in enumerate(names):
        fits = score(query, name) * weight
        if fits:
            found.append((-fits, number))
    found.sort()
    return [number for _, number in found[:most]]


class Pool:
    """Many names as one text: made once, searched at every key."""

    def __init__(self, names: Sequence[str]) -> None:
        self._raw = "\n" + "\n".join(names) + "\n"
        low = self._raw.lower()
        self._text = low if len(low) == len(self._raw) else self._raw  # a few letters change their length

    def holding(self, query: str, few: int = FEW) -> list[str]:
        """Names with every word of the query in them; those that begin or end with it are found first."""
        words = sorted(query.lower().split(), key=len, reverse=True)
        if not words or "\n" in query:
            return []
        found: dict[str, None] = {}
        for needle in (f"\n{words[0]}\n", f"{words[0]}\n", f"\n{words[0]}", words[0]):
            self._look(needle, words, found, few)
            if len(found) >= few:
                break
        return list(found)

    def _look(self, needle: str, words: list[str], found: dict[str, None], few: int) -> None:
        text = self._text
        at = text.find(needle)
        looked = 0
        while at >= 0 and len(found) < few and looked < 20 * few:
            looked += 1
            inside = at + 1 if needle[0] == "\n" else at
            start = text.rfind("\n", 0, inside) + 1
            end = text.find("\n", inside)
            if all(text.find(w, start, end) >= 0 for w in words):
                found[self._raw[start:end]] = None
            at = text.find(needle, end)
