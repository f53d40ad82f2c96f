"""Identities of one authority, loaded."""

from __future__ import annotations

import uuid
from pathlib import Path

from cockpit.link.pki import Authority
from cockpit.swarm import tls


class Certificates:
    def __init__(self, root: Path, cluster: str = "shop") -> None:
        self.root = root
        self.authority = Authority.create(root / "ca", cluster)

    def host(self, name: str) -> tls.Identity:
        self.authority.issue_local_host(self.root / name, name, str(uuid.uuid4()), [])
        return tls.load(str(self.root / name / "identity"))

    def origin(self) -> tls.Identity:
        return tls.load(str(self.authority.issue_origin(self.root / "origin")))
