"""The screens by the word that opens them: one line each. A module is imported when its screen is first opened."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple


class Place(NamedTuple):
    about: str
    """One line for help and completion."""
    where: str = ""
    """`module:Class`; the words after the name are its arguments. Empty: the app itself knows what to do."""


PLACES: dict[str, Place] = {
    "overview": Place("the tree, what needs you, what runs"),
    "instances": Place("all instances; with a name, those under it", "screens.instances:InstancesScreen"),
    "hosts": Place("all hosts", "screens.hosts:HostsScreen"),
    "regions": Place("all regions, rolled up: expected, actual, what differs", "screens.regions:RegionsScreen"),
    "relays": Place("all relays: what they carry, and how they are reached", "screens.relays:RelaysScreen"),
    "host": Place("one host: how it is reached, what it lacks, what it holds", "screens.host:HostScreen"),
    "graph": Place(
        "who calls whom; with a name, around that; with `relays`, what is reached through what",
        "screens.graph:GraphScreen",
    ),
    "explain": Place(
        "why something is not as it should be, root causes first; nothing: the whole cluster",
        "screens.explain:ExplainScreen",
    ),
    "life": Place(
        "what happened to one thing: states, runs, actions, revisions; nothing: to the cluster",
        "screens.life:LifeScreen",
    ),
    "journal": Place("every entry of the journal, and whether its chain is whole", "screens.journal:JournalScreen"),
    "node": Place("one instance: expected beside actual", "screens.node:NodeScreen"),
    "naming": Place("endpoints in the registry", "screens.naming:NamingScreen"),
    "actions": Place("actions, running and ended", "screens.actions:ActionsScreen"),
    "action": Place("one action, step by step", "screens.action:ActionScreen"),
    "revisions": Place("revisions of what is expected", "screens.revisions:RevisionsScreen"),
    "compare": Place(
        "what differs between two revisions; with one, between it and now", "screens.compare:CompareScreen"
    ),
    "then": Place(
        "one instance as it was expected at a revision, beside now", "screens.compare:ThenScreen"
    ),
    "revision": Place("one revision: every path it changed", "screens.revisions:RevisionScreen"),
    "pushes": Place("a push: pieces per host; with an action, that one's", "screens.push:PushScreen"),
    "artifacts": Place(
        "versions in the store: size, signatures, where they are", "screens.artifacts:ArtifactsScreen"
    ),
    "artifact": Place(
        "one version: record, signatures, what it would change; with a second version, compared with that",
        "screens.artifact:ArtifactScreen",
    ),
    "matrix": Place("hosts against services; with words, only those", "screens.matrix:MatrixScreen"),
    "approvals": Place("what waits for a second person", "screens.approvals:ApprovalsScreen"),
    "forwards": Place("ports of instances that are forwarded to this machine", "screens.forwards:ForwardsScreen"),
    "logs": Place("logs of instances", "screens.logs:LogsScreen"),
    "messages": Place("remarks and errors of the last hour", "screens.messages:MessagesScreen"),
    "alerts": Place("what needs somebody, who was told, who has it", "screens.alerts:AlertsScreen"),
    "advice": Place(
        "what could hurt though nothing is wrong: no check, one instance, all on one host; with a name, only that",
        "screens.advice:AdviceScreen",
    ),
    "past": Place("every screen at a moment: 14:02, -15m, 2026-11-20 03:00, #118"),
    "between": Place("what changed between two moments", "screens.between:BetweenScreen"),
    "columns": Place("columns of this list: +host.region adds a path, -pid takes one away, usual; nothing: choose"),
    "forward": Place("a port of an instance on this machine: web/0 8080:http; alone: of the one under the cursor"),
    "page": Place("this view, every row of it, in $PAGER"),
    "save": Place("this view, every row of it, in a new file: NAME.csv, NAME.json, else text"),
    "cp": Place("copy one file from the host or instance under the cursor, or to it; `cp SOURCE TARGET`, `cp stop`"),
    "theme": Place("the colours: dark, light, high-contrast, deuteranopia and others; one of your own"),
    "language": Place("the language of the screens: en or zh"),
    "tour": Place("a first look in eight steps; changes nothing"),
    "help": Place("keys and verbs", "screens.help:HelpScreen"),
    "quit": Place("leave"),
}


def made_by(name: str) -> Any:
    """The class of a screen's name. Raises KeyError."""
    module, _, cls = PLACES[name].where.partition(":")
    if not module:
        raise KeyError(name)
    return getattr(import_module(module), cls)
