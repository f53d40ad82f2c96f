"""The command line behind `:`, and an intent as the command that does the same. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from itertools import chain, islice
from typing import Any

import msgspec

from cockpit.act.spelling import command_of, positional
from cockpit.act.table import VERBS, Param, Verb
from cockpit.model.signals import SIGNALS
from screens.address import MARK, read, shape
from screens.aim import ACTION, ARTIFACT, HOST, INSTANCE, NODE, Aim
from screens.board import Board
from screens.places import PLACES
from screens.themes import names
from screens.words import LANGUAGES

__all__ = ["Do", "Go", "aim_of", "command_of", "completions", "help_for", "parse", "positional", "value_of"]


ELSEWHERE: dict[str, str] = {
    word: here
    for words, here in {
        "pods pod po containers ps": "`instances` lists what runs",
        "nodes machines top": "`hosts` lists the machines",
        "services service svc deployments deployment deploys dp sts ds namespaces ns tree status pulses home":
            "`overview` has the tree of services",
        "xray deps topology": "`graph` shows who calls whom",
        "events ev history": "`life` has what happened to one thing, `journal` every action",
        "diff": "`between 14:00 14:05` compares two moments, `compare 3 4` two revisions",
        "undo revert": "`rollback` undoes an action",
        "delete del rm kill": "`stop` stops instances, `signal` signals their processes",
        "exec ssh sh shell bash attach": "a shell is a key here, ? lists it",
        "edit": "editing is a key here, ? lists it",
        "pf portforward port-forward": "`forward web/0 8080:http` forwards a port",
        "q! wq exit": "`quit` leaves",
        "bundle snapshot replay export backup": "it is a command of the shell: cockpit {0}",
    }.items()
    for word in words.split()
}
"""What hands that know other programs type, and what it is called here."""
MOST = 200
"""Lines that completion knows."""


class Go(msgspec.Struct, frozen=True):
    """Open a screen."""

    words: tuple[str, ...]
    filter: str = ""


class Do(msgspec.Struct, frozen=True):
    """Carry out a verb; `params` holds what was given."""

    verb: str
    aim: Aim
    targets: tuple[str, ...]
    params: dict[str, Any]


def parse(text: str, board: Board, here: Aim) -> Go | Do:
    """What a typed line asks for. Raises ValueError with a sentence that says what is wrong."""
    name, _, behind = text.strip().partition(" ")
    if name in VERBS:
        try:
            rest = shlex.split(behind)
        except ValueError as error:
            raise ValueError(f"{text}: {error}") from None
        return _verb(VERBS[name], rest, board, here)
    near = [name] if name in PLACES else [s for s in PLACES if name and s.startswith(name)]
    if len(near) == 1:
        address = read(near[0], behind, board)
        return Go(address.words, address.filter)
    if name in ELSEWHERE:
        raise ValueError(f"no screen and no verb {name!r}; {ELSEWHERE[name].format(name)}")
    known = [w for w in (*PLACES, *VERBS) if w.startswith(name[:2])]
    hint = f"; near it: {', '.join(known[:6])}" if known else "; ? shows what there is"
    raise ValueError(f"no screen and no verb {name!r}{hint}")


def aim_of(word: str, board: Board) -> Aim:
    """What a typed target names; of no kind when the screens do not know it."""
    if word.startswith("#"):
        return Aim(ACTION, (word,))
    name = board.full(word)
    if name in board.nodes:
        return Aim(NODE, (name,))
    if name in board.instances:
        return Aim(INSTANCE, (name,))
    if name in board.hosts:
        return Aim(HOST, (name,))
    return Aim("name", (name,))


def _verb(verb: Verb, rest: list[str], board: Board, here: Aim) -> Do:
    if verb.target == "topology":
        raise ValueError(f"{verb.name} reads a file: {verb.example}")
    rest, params = _flags(verb, rest)
    if verb.target == "artifact":
        if rest and "/" not in rest[0]:
            raise ValueError(f"{verb.name} takes name/version: {verb.example}")
        if rest[1:]:
            raise ValueError(f"{verb.name} takes one name/version; hosts are given as --hosts a,b")
        return Do(verb.name, Aim(ARTIFACT, (rest[0],)) if rest else here, tuple(rest[:1]), params)
    if verb.target == "action":
        rest = [w if n or w.startswith("#") else f"#{w}" for n, w in enumerate(rest)]
    if verb.name == "rollback" and rest and rest[0].startswith("#"):
        return Do(verb.name, Aim(ACTION, (rest[0],)), (), {"action": rest[0]})
    for param in verb.params:
        if param.first and rest and param.name not in params and not _target(rest[0], board):
            params[param.name] = value_of(param, rest.pop(0))
    if verb.many:  # as in the shell: targets, then what must be said
        for param in reversed([p for p in verb.params if positional(p) and not p.first and p.name not in params]):
            if rest:
                params[param.name] = value_of(param, rest.pop())
    if not rest:
        return Do(verb.name, here, (), params)
    if verb.many:
        aims = [aim_of(w, board) for w in rest]
        kinds = {a.kind for a in aims}
        if len(kinds) > 1:
            raise ValueError(f"{verb.name}: give services, or instances, or hosts, not a mix")
        ids = tuple(i for a in aims for i in a.ids)
        return Do(verb.name, Aim(aims[0].kind, ids), ids, params)
    aim = aim_of(rest[0], board)
    plain = [p for p in verb.params if positional(p)]
    for param, word in zip(plain, rest[1:], strict=False):
        params[param.name] = value_of(param, word)
    if len(rest) - 1 > len(plain):
        raise ValueError(f"{verb.name}: what is {rest[len(plain) + 1]!r}? {verb.example}")
    return Do(verb.name, aim, aim.ids, params)


def _target(word: str, board: Board) -> bool:
    """Is it meant as a target, where a signal might stand? The signal is asked for then."""
    if word.upper().removeprefix("SIG") in SIGNALS:
        return False
    return "/" in word or "." in word or aim_of(word, board).kind != "name"


def _flags(verb: Verb, words: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Words without their flags, and the parameters these stand for. `--confirm` is asked for in a dialog."""
    rest: list[str] = []
    params: dict[str, Any] = {}
    known = {f"--{p.name}": p for p in verb.params}
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if not word.startswith("--"):
            rest.append(word)
        elif word == "--confirm":
            del queue[:1]
        elif word not in known:
            raise ValueError(f"{verb.name} has no {word}: {verb.example}")
        elif known[word].type == "bool":
            params[word[2:]] = True
        elif not queue:
            raise ValueError(f"{word} needs a value: {verb.example}")
        else:
            params[word[2:]] = value_of(known[word], queue.pop(0))
    return rest, params


def value_of(param: Param, word: str) -> Any:
    if param.type == "int":
        if not word.isdigit():
            raise ValueError(f"{param.name} is a number, not {word!r}")
        return int(word)
    if param.type == "bool":
        return word in ("yes", "true", "1", param.name)
    if param.type == "hosts":
        return [w.strip() for w in word.split(",") if w.strip()]
    return word


def completions(text: str, board: Board) -> list[str]:
    """Whole lines that could follow what was typed so far."""
    words = text.split(" ")
    if len(words) == 1:
        return [
            w for w in (*PLACES, *(n for n, v in VERBS.items() if v.target != "topology")) if w.startswith(words[0])
        ]
    head, last = words[:-1], words[-1]
    pool: Iterable[str] = ()
    verb = VERBS.get(head[0])
    nodes = [board.short(p) for p in sorted(board.nodes)]
    instances = board.short_instances
    if verb is None:
        pools: dict[str, Callable[[], Iterable[str]]] = {
            "instances": lambda: chain(nodes, board.hosts), "logs": lambda: chain(nodes, instances()),
            "node": instances, "action": lambda: board.actions, "host": lambda: board.hosts, "theme": names,
            "language": lambda: LANGUAGES,
            "pushes": lambda: dict.fromkeys(row.action for row in board.pushes.values()),
        }  # fmt: skip
        pool = pools[head[0]]() if head[0] in pools else ()
        return [" ".join([*head, w]) for w in _of_address(head, last, pool, board)][:MOST]
    elif len(head) == 1 and verb.params and verb.params[0].first:
        last = last.upper() if last.islower() else last
        pool = list(SIGNALS)
    elif len(head) == 1 or verb.many:
        targets: dict[str, Callable[[], Iterable[str]]] = {
            "service": lambda: [board.short(r.path) for r in board.services()], "instance": instances,
            "any": lambda: chain(nodes, instances()), "host": lambda: board.hosts, "action": lambda: board.actions,
        }  # fmt: skip
        pool = targets[verb.target]() if verb.target in targets else ()
    elif len(head) == 2 and verb.params and verb.params[0].type == "host":
        pool = board.hosts
    return [" ".join([*head, w]) for w in islice((w for w in pool if w.startswith(last)), MOST)]


def _of_address(head: list[str], last: str, names: Iterable[str], board: Board) -> list[str]:
    """What the last word behind a screen's name may become: an argument while one more fits, a word of the filter."""
    from screens.filter_words import filter_words

    screen = head[0]
    place = PLACES.get(screen)
    fit = list(islice((w for w in names if w.startswith(last)), MOST))
    if place is None or (not place.where and screen != "overview"):
        return fit
    more = screen != "overview" and len(head) <= shape(screen).most and MARK not in head
    return [*(fit if more else []), *filter_words(screen, last, board)]


def help_for(text: str) -> str:
    """One line about the word that was typed."""
    name = text.split(" ")[0]
    near = [w for w in (*PLACES, *VERBS) if name and w.startswith(name)]
    if name not in VERBS and len(near) == 1:
        name = near[0]
    if name in VERBS:
        return f"{VERBS[name].help}  ({VERBS[name].example.removeprefix('cockpit ')})"
    if name in PLACES:
        return PLACES[name].about
    return "a screen or a verb"
