"""What must not leave with a bundle: rules for names, for shapes of values, and for values seen elsewhere. Pure.

Three layers. Names: what stands under a name like `password` or `headers` goes, whatever it looks like. Values that
were found that way (and are long enough to be more than a word) go everywhere else too: in logs, arguments,
sentences. Shapes: keys, tokens, URLs with credentials and long random words go wherever they stand.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cockpit.inventory.secret import HIDDEN, clean_argv, is_secret

SHORTEST = 6
"""Characters from which a secret value is looked for in other texts; shorter ones are words of every day."""
MOST_KNOWN = 5000
PLAIN = frozenset({"true", "false", "none", "null", "default", "enabled", "disabled", "required", "optional"})
_OURS = frozenset({"key", "keys", "group_key", "token_id", "author"})
"""Names of our own rows that look like a secret's and hold none."""
_WHOLE = frozenset({"headers", "header", "cookies", "secrets"})
"""Mappings of which only the names are kept."""
_SECRET_WORD = (
    r"[\w.-]{0,60}?(?:pass(?:word|wd|phrase)?|passwd|pwd|secret|token|credentials?|api[_-]?key|access[_-]?key|"
    r"private[_-]?key|secret[_-]?key|signing[_-]?key|encryption[_-]?key|auth|dsn|cookie|session[_-]?id|sig|signature)"
    r"(?:hash|value|[_.-][\w.-]{0,30}|\d{1,3})?"
)
_ASSIGNED = re.compile(
    rf"(?P<name>(?<![\w/]){_SECRET_WORD})(?P<mark>[\"']?\s*(?:=>|[=:])\s*)"
    r"(?P<value>\"[^\"]*\"|'[^']*'|(?:(?:Bearer|Basic|Digest|Token)\s+)?[^\s,;&\"'}\])]+)",
    re.IGNORECASE,
)
_OPTION = re.compile(rf"(?P<name>(?<!\S)--?{_SECRET_WORD})(?P<mark>\s+)(?P<value>[^\s-]\S*)", re.IGNORECASE)
_HEADER = re.compile(
    r"(?P<name>\b(?:proxy-)?authorization|\b(?:set-)?cookie|\bx-[\w-]{0,40}(?:key|token|auth|secret)[\w-]{0,40})"
    r"(?P<mark>[\"']?\s*[:=]\s*[\"']?)(?P<value>[^\r\n\"']+)",
    re.IGNORECASE,
)
_URL = re.compile(r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]{0,30}://)(?P<user>[^\s/@\"'<>]{1,500})@")
_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)", re.DOTALL)
_SHAPES = (
    ("join token", re.compile(r"\bCOCKPIT\d-[A-Za-z0-9_=-]{8,}")),
    ("key", re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAGE-SECRET-KEY-[A-Z0-9]+|\bAIza[\w-]{30,}")),
    ("token", re.compile(
        r"\bgh[pousr]_\w{16,}|\bgithub_pat_\w{20,}|\bxox[abposr]-[\w-]{8,}|\bglpat-[\w-]{16,}|\bnpm_\w{20,}|"
        r"\bsk[_-](?:live_|test_|proj-|ant-)?[\w-]{16,}|\bhv[sb]\.[\w-]{16,}|\bSG\.[\w-]{16,}\.[\w-]{16,}"
    )),
    ("token", re.compile(r"\beyJ[\w-]{6,}\.[\w-]+(?:\.[\w-]+)?")),
    ("token", re.compile(r"\b(?:Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)),
    ("vault", re.compile(r"\$ANSIBLE_VAULT;[^\s]*(?:\s+[0-9a-f]{32,})*")),
)  # fmt: skip
_RANDOM = re.compile(r"(?<![\w/.+-])[A-Za-z0-9+_=-]{32,}(?:/[A-Za-z0-9+_=-]{8,})*(?![\w/.])")
_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")


class Redactor:
    """One for a whole bundle: `learn` from everything first, then clean everything. `counts`: rule -> how often."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._known: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._people: dict[str, str] = {}

    # values that are secrets by their names

    def learn(self, value: Any, name: str = "") -> None:
        """Remember secret values of plain data, of `NAME=value` in texts, and of options in commands."""
        if isinstance(value, Mapping):
            for _, each, inner in _fields(value):
                if inner.lower() in _WHOLE:
                    for word in each.values() if isinstance(each, Mapping) else [each]:
                        self._remember(word)
                else:
                    self.learn(each, inner)
        elif isinstance(value, (list, tuple)):
            if value and all(isinstance(v, str) for v in value):
                for before, after in zip(value, clean_argv(value)[0], strict=True):
                    if HIDDEN in after and after != before:
                        self._remember(before.partition("=")[2] if after.endswith("=" + HIDDEN) else before)
            for each in value:
                self.learn(each, name)
        elif isinstance(value, str):
            if _by_name(name, value):
                self._remember(value)
            else:
                self._learn_text(value)

    def _learn_text(self, text: str) -> None:
        for pattern in (_ASSIGNED, _OPTION):
            for found in pattern.finditer(text):
                value = found["value"].strip("\"'")
                if not re.fullmatch(r"[A-Z]?[a-z]+[.!?]?", value):  # `token: expired` says a word
                    self._remember(value)
        for found in _URL.finditer(text):
            self._remember(found["user"].partition(":")[2])

    def _remember(self, value: Any) -> None:
        if isinstance(value, Mapping):  # `{file: PATH}`: a reference
            return
        text = str(value).strip()
        words = [text, *re.findall(r"(?:Bearer|Basic|Token)\s+(\S+)", text)]
        for word in words:
            ordinary = word.lower() in PLAIN or word.isdigit() or word.startswith("/") or HIDDEN in word
            if len(word) >= SHORTEST and not ordinary and len(self._known) < MOST_KNOWN:
                self._known.add(word)
                self._pattern = None

    # cleaning

    def data(self, value: Any, name: str = "") -> Any:
        """Plain data without secrets; its shape and its names stay."""
        if isinstance(value, Mapping):
            out = {}
            for key, each, inner in _fields(value):
                if inner.lower() not in _WHOLE:
                    out[self.text(key)] = self.data(each, inner)
                elif isinstance(each, Mapping):
                    out[self.text(key)] = {k: self._hidden("by name") for k in each}
                else:
                    out[self.text(key)] = self._hidden("by name") if each else each
            return out
        if isinstance(value, (list, tuple)):
            if value and all(isinstance(v, str) for v in value):
                words, left = clean_argv(value)
                self.counts["by name"] += len(left)
                return [self.text(w) for w in words]
            return [self.data(v, name) for v in value]
        if isinstance(value, str):
            return self._hidden("by name") if _by_name(name, value) else self.text(value)
        return value

    def text(self, text: str) -> str:
        """A text without secrets; it may have many lines."""
        if not text:
            return text
        text = self._sub("key", _PEM, text)
        for pattern in (_HEADER, _ASSIGNED, _OPTION):
            text = pattern.sub(self._assigned, text)
        text = _URL.sub(lambda m: f"{m['scheme']}{self._hidden('URL')}@", text)
        for rule, pattern in _SHAPES:
            text = self._sub(rule, pattern, text)
        if self._known:
            if self._pattern is None:
                longest = sorted(self._known, key=lambda w: (-len(w), w))
                self._pattern = re.compile("|".join(map(re.escape, longest)))
            text = self._sub("seen elsewhere", self._pattern, text)
        text = _RANDOM.sub(lambda m: self._hidden("random") if _random(m[0]) else m[0], text)
        return _MAIL.sub(self._person, text)

    def lines(self, lines: Iterable[str]) -> list[str]:
        """Lines of one log: a key that goes over many of them goes as a whole."""
        return self.text("\n".join(lines)).split("\n")

    def _assigned(self, found: re.Match[str]) -> str:
        value = found["value"]
        if "[redacted" in value or value.strip("\"'") == HIDDEN:
            return found[0]
        if value.strip("\"'").startswith("/") and re.search(r"(file|path|dir)$", found["name"], re.IGNORECASE):
            return found[0]
        return f"{found['name']}{found['mark']}{self._hidden('by name')}"

    def _sub(self, rule: str, pattern: re.Pattern[str], text: str) -> str:
        return pattern.sub(lambda _: self._hidden(rule), text)

    def _hidden(self, rule: str) -> str:
        self.counts[rule] += 1
        return f"[redacted: {rule}]"

    def _person(self, found: re.Match[str]) -> str:
        self.counts["e-mail"] += 1
        return self._people.setdefault(found[0].lower(), f"[e-mail {len(self._people) + 1}]")


def _fields(value: Mapping[Any, Any]) -> Iterator[tuple[str, Any, str]]:
    """Key, value, and the name that the value really has: a change of a path is named by the path's end."""
    shown: dict[str, str] = {}
    path = value.get("path")
    if isinstance(path, (list, tuple)) and path and ("old" in value or "new" in value):
        inside = next((str(p) for p in path if str(p).lower() in _WHOLE), str(path[-1]))
        shown = {"old": inside, "new": inside}
    elif isinstance(value.get("field"), str) and ("expected" in value or "actual" in value):
        shown = {"expected": str(value["field"]), "actual": str(value["field"])}
    elif isinstance(value.get("name"), str) and "value" in value:
        shown = {"value": str(value["name"])}
    for key, each in value.items():
        yield str(key), each, shown.get(str(key), str(key))


def _by_name(name: str, value: str) -> bool:
    return bool(name and value) and name.lower() not in _OURS and is_secret(name, value)


def _random(word: str) -> bool:
    """Is it a long word that nobody would type: upper and lower case and figures, and no plain hexadecimal?"""
    if re.fullmatch(r"[0-9a-f-]+|[0-9A-F-]+", word):
        return False
    kinds = (r"[A-Z]", r"[a-z]", r"[0-9]")
    pairs = zip(word, word[1:], strict=False)
    changes = sum(a.isdigit() != b.isdigit() or a.isupper() != b.isupper() for a, b in pairs)
    return all(re.search(k, word) for k in kinds) and changes >= len(word) // 4
