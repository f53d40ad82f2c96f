"""What runs at once, without steps: programs, shells, copies, forwards, plug-ins, builds. As plans, so that guards,
typed names and a second person are for them what they are for verbs. Pure."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from typing import Any

import msgspec

from cockpit.plan.steps import Intent, Plan

NAMED = 60
"""Hosts that are named one by one."""
LONGEST = 2000
"""Characters of a command that are shown."""


def direct_plan(intent: Intent, base: int) -> Plan:
    """The plan of an intent whose targets are hosts. It says what will be run, and on what.

    params: exec: argv, user, timeout. shell: instance (or empty), argv, user (where it is known). copy: instance,
    path, put (there, else from there), overwrite, size and sha256 (where they are known). forward: instance, port (or
    empty). plugin-push: plugin (`name/version`), sha256. plugin-remove: plugin (its name). artifact-build: artifact
    (`name/version`), argv, timeout, sha256 (of its inputs), `rest` (a digest of what else its recipe says).
    """
    hosts = intent.targets
    what, touches = _words(intent)
    lasts = intent.verb in ("exec", "shell", "forward", "artifact-build") or bool(intent.params.get("put"))
    where = intent.params.get("instance") or (hosts[0] if len(hosts) == 1 else f"{len(hosts)} hosts")
    undo = "nothing undoes it" if lasts else ""
    return Plan(
        intent=intent, base=base, title=f"{_cut(what, 100)} on {where}", touches=(*touches, _hosts(hosts)), undo=undo,
        digest=_digest(intent),
    )


def name_of(intent: Intent) -> str:
    """What is typed to confirm it: the one host or instance, or how many hosts they are."""
    instance = str(intent.params.get("instance") or "")
    if instance:
        path, slash, slot = instance.partition("/")
        return path.rpartition(".")[2] + slash + slot
    return intent.targets[0] if len(intent.targets) == 1 else f"{len(intent.targets)}-hosts"


def _words(intent: Intent) -> tuple[str, list[str]]:
    """A title, and what will be run, in sentences."""
    params = intent.params
    argv = shlex.join(params.get("argv") or ())
    user = f"as {params['user']}" if params.get("user") else "as the agent's user"
    match intent.verb:
        case "exec":
            return f"exec {argv}", [f"runs {_cut(argv, LONGEST)}, {user}, for at most {params['timeout']:g} s"]
        case "shell":
            what = f"runs {_cut(argv, LONGEST)}" if argv else "opens a shell, in which anything can be typed"
            return f"shell {argv}".rstrip(), [what]
        case "copy":
            return _copied(params)
        case "forward":
            port = f"port {params['port']}" if params.get("port") else "the port"
            return f"forward {port}", [
                f"connects the operator's machine to {port} of {params['instance']}: whoever can reach the one there "
                "can reach the other"
            ]
        case "plugin-push":
            return f"push plug-in {params['plugin']}", [
                f"loads {params['plugin']} (sha256 {params['sha256'][:12]}) into the agent, without a restart"
            ]
        case "artifact-build":
            return f"build {params['artifact']}", [
                f"runs {_cut(argv, LONGEST)}, as the agent's user, for at most {params['timeout']:g} s",
                f"on inputs with sha256 {params['sha256'][:12]}",
                f"adds what it makes to the store as {params['artifact']}",
            ]
    return f"remove plug-in {params.get('plugin')}", [
        f"unloads {params.get('plugin')}; one of the agent's own serves again"
    ]


def _copied(params: dict[str, Any]) -> tuple[str, list[str]]:
    path = params["path"]
    if not params["put"]:
        return f"copy from {path}", [f"reads {_cut(path, LONGEST)}; whoever copies it has what is in it"]
    size = "of unknown size" if params["size"] is None else f"of {params['size']} bytes"
    what = f"a file {size}" + (f" (sha256 {params['sha256'][:12]})" if params["sha256"] else "")
    over = ", over the one that is there" if params["overwrite"] else ", if nothing is there yet"
    return f"copy to {path}", [f"writes {_cut(path, LONGEST)}: {what}{over}"]


def _hosts(hosts: Sequence[str]) -> str:
    more = f" and {len(hosts) - NAMED} more" if len(hosts) > NAMED else ""
    many = f"{len(hosts)} hosts: " if len(hosts) > 1 else ""
    return f"on {many}{', '.join(hosts[:NAMED])}{more}"


def _digest(intent: Intent) -> str:
    said: list[Any] = [intent.verb, sorted(intent.targets), intent.params]
    return hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
