"""An intent as the shell command that does the same. Pure."""

from __future__ import annotations

import shlex
from typing import Any

from cockpit.act.table import DIRECT, VERBS, Param
from cockpit.model.view import ActionRow
from cockpit.plan.steps import Intent


def positional(param: Param) -> bool:
    """Does its value follow the target, as in the shell? The others are options."""
    return param.required or param.type == "host"


def words_of(intent: Intent, confirm: str = "") -> list[str]:
    """The command as an argument list; its first word is `cockpit`."""
    if intent.verb in DIRECT:
        return _direct(intent, confirm)
    verb = VERBS[intent.verb]
    if verb.target == "topology":
        return ["cockpit", intent.verb, str(intent.params.get("source") or "topology.yaml")]
    first: list[str] = []
    plain: list[str] = []
    options: list[str] = []
    for param in verb.params:
        value = intent.params.get(param.name)
        if value is None or value is False or value in ("", [], ()):  # 0 is a value
            continue
        if param.type == "bool":
            options.append(f"--{param.name}")
        elif positional(param):
            (first if param.first else plain).append(_text(value))
        else:
            options += [f"--{param.name}", _text(value)]
    if confirm:
        options += ["--confirm", confirm]
    words = [*first, *intent.targets, *plain]
    # a word that begins with a dash would be taken for an option
    return ["cockpit", intent.verb, *options, "--", *words] if any(w.startswith("-") for w in words) else [
        "cockpit", intent.verb, *words, *options
    ]


def _direct(intent: Intent, confirm: str) -> list[str]:
    """What runs at once has a command of its own."""
    given = intent.params
    options = ["--confirm", confirm] if confirm else []
    argv = ["--", *given["argv"]] if given.get("argv") else []
    match intent.verb:
        case "exec":
            user = ["--user", given["user"]] if given.get("user") else []
            on = [w for host in intent.targets for w in ("--on", host)]
            return ["cockpit", "exec", *on, "--timeout", f"{given['timeout']:g}", *user, *options, *argv]
        case "shell":
            return ["cockpit", "shell", *options, given.get("instance") or intent.targets[0], *argv]
        case "artifact-build":
            name, _, version = given["artifact"].partition("/")
            return ["cockpit", "artifact", "build", "RECIPE", "--name", name, "--version", version,
                    "--host", intent.targets[0], *options]  # fmt: skip
        case "copy":
            there = f"{given.get('instance') or intent.targets[0]}:{given['path']}"
            here = str(given["path"]).rpartition("/")[2]
            over = ["--overwrite"] if given.get("overwrite") else []
            return ["cockpit", "cp", *options, *over, *([here, there] if given["put"] else [there, here])]
        case "forward":
            port = [given["port"]] if given.get("port") else []
            return ["cockpit", "forward", *options, given["instance"], *port]
    return ["cockpit", "plugin", intent.verb.partition("-")[2], given["plugin"], *intent.targets, *options]


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def command_of(intent: Intent, confirm: str = "") -> str:
    """The shell command that does the same as this intent."""
    return shlex.join(words_of(intent, confirm))


def command_of_row(row: ActionRow) -> str:
    """Of an action, running or ended; a derived one as an operator would ask for it."""
    return command_of(Intent(verb=row.verb, targets=row.targets, params=row.params))


def command_of_entry(body: dict[str, Any], replay: str = "") -> str:
    """Of an `intent` entry of the journal (its body). Raises KeyError for a verb that is none.

    A file that was applied may say something else by now: with `replay` (the journal and where it stands there) its
    command takes the content from the journal.
    """
    if replay and VERBS[body["verb"]].target == "topology":
        return f"cockpit replay {replay} --live"
    params = {k: v for k, v in body["params"].items() if k != "document"}
    return command_of(Intent(verb=body["verb"], targets=tuple(body["targets"]), params=params))
