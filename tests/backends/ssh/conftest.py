"""A key, and one sshd with one host behind it, for each module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends.ssh.world import Sshd, has_no_agent, make_key


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "id"
    make_key(path)
    has_no_agent()
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, key: Path) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd") / "one", key).up() as one:
        yield one
