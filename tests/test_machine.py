"""The machine itself: systemd runs in it, and SSH is the only way in."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.machine import Machine, machines_possible
from tests.netlab import Lab

pytestmark = [pytest.mark.skipif(not machines_possible(), reason="containers need root"), pytest.mark.timeout(600)]


def test_it_boots_runs_units_and_forgets(tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    lab = Lab()
    machine = None
    try:
        lab.host("m", lab.switch("s", "198.19.7"))
        machine = Machine(lab, "m", key)
        machine.wait()
        assert machine.out("cat", "/proc/1/comm").strip() == "systemd"
        machine.put("/etc/systemd/system/nap.service", "[Service]\nExecStart=/bin/sleep 1000\n")
        machine.out("systemctl", "start", "nap.service")
        assert machine.out("systemctl", "is-active", "nap.service").strip() == "active"
        assert machine.address in machine.host_key()
    finally:
        if machine is not None:
            machine.close()
        lab.close()
