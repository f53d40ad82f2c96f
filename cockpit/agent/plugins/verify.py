"""Is a plug-in on this host what somebody with the right key has signed? Blocking; for a thread."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, NamedTuple, Set

from cockpit.agent.install import InstallError, Releases
from cockpit.agent.plugins.describe import FILE, MAX_FILE, BadPlugin, Description, parse
from cockpit.agent.tasks import CommandError
from cockpit.swarm.signatures import Unsigned, check, host_signers

ROLE = "plugin"
KIND = "plugin"


class Pushed(NamedTuple):
    """What the word `plugin` says, and DIR/plugins.json keeps."""

    name: str
    version: str
    sha256: str
    platform: str
    signatures: List[Dict[str, Any]]
    signers: Dict[str, List[str]]


def pushed_of(args: Mapping[str, Any]) -> Pushed:
    """Raises CommandError `bad`."""
    texts = [args.get(key) for key in ("name", "version", "sha256", "platform")]
    signatures, signers = args.get("signatures"), args.get("signers")
    if not all(isinstance(t, str) and t for t in texts):
        raise CommandError("bad", "plugin: name, version, sha256 and platform are wanted")
    if not isinstance(signatures, list) or not all(isinstance(s, dict) for s in signatures):
        raise CommandError("bad", "plugin: `signatures` is a list of records")
    if not isinstance(signers, dict) or not all(
        isinstance(k, list) and all(isinstance(key, str) for key in k) for k in signers.values()
    ):
        raise CommandError("bad", "plugin: `signers` maps roles to lists of keys")
    name, version, sha256, platform = (str(t) for t in texts)
    return Pushed(name, version, sha256, platform, list(signatures), dict(signers))


def verified(host_dir: str, releases: Releases, pushed: Pushed) -> Description:
    """Its plugin.json, after signature and every file were checked. Raises CommandError: missing, altered, unsigned,
    bad."""
    id = f"{pushed.name}/{pushed.version}"
    try:
        manifest = releases.check(pushed.name, pushed.version, pushed.sha256)
    except InstallError as e:
        raise CommandError(e.code, f"plug-in {id} is not loaded: {e}") from None
    if manifest.get("kind") != KIND:
        raise CommandError("bad", f"{id} is a {manifest.get('kind')}, not a plug-in: cockpit plugin push adds it")
    try:
        check(
            [ROLE], pushed.signers, pushed.signatures, name=pushed.name, version=pushed.version,
            platform=pushed.platform, kind=KIND, sha256=pushed.sha256, host_signers=host_signers(host_dir),
        )
    except Unsigned as e:
        raise CommandError("unsigned", f"plug-in {id} is not loaded: {e}") from None
    _nothing_more(releases.path(pushed.name, pushed.version), id, {*manifest["files"], *manifest.get("links", {})})
    found = described(releases.path(pushed.name, pushed.version))
    if (found.name, found.version) != (pushed.name, pushed.version):
        raise CommandError("bad", f"{id}: its {FILE} says {found.name}/{found.version}")
    return found


def described(directory: str) -> Description:
    """Raises CommandError `bad`."""
    try:
        with open(os.path.join(directory, FILE), "rb") as f:
            found = parse(f.read(MAX_FILE + 1))
    except OSError as e:
        raise CommandError("bad", f"{directory} is no plug-in: {FILE}: {e.strerror}") from None
    except BadPlugin as e:
        raise CommandError("bad", f"{directory}: {e}") from None
    if not os.path.isfile(os.path.join(directory, found.main)):
        raise CommandError("bad", f"{directory}: there is no {found.main}")
    return found


def _nothing_more(directory: str, id: str, known: Set[str]) -> None:
    """A file that nobody signed could be imported. Raises CommandError `altered`."""
    for base, _, names in os.walk(directory):
        for name in names:
            path = os.path.relpath(os.path.join(base, name), directory)
            if path not in known:
                raise CommandError("altered", f"plug-in {id} is not loaded: {path} was not in what was signed")
