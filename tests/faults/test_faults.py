"""Every kind of fault once, on a real cluster, during real actions; and nothing is lost."""

from __future__ import annotations

import pytest

from tests import netlab
from tests.faults.__main__ import run
from tests.faults.schedule import KINDS, rounds

SEED, ROUNDS, EACH = 1, 5, 4

pytestmark = pytest.mark.skipif(not netlab.possible(), reason="needs root and network tools")


@pytest.mark.timeout(600)
def test_nothing_is_lost(capsys: pytest.CaptureFixture[str]) -> None:
    assert {f.kind for r in rounds(SEED, ROUNDS, each=EACH, quick=True) for f in r.faults} == set(KINDS)
    lost = run(SEED, ROUNDS, each=EACH, quick=True)
    assert not lost, capsys.readouterr().out
