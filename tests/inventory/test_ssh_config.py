from __future__ import annotations

from pathlib import Path

import pytest

from cockpit.inventory import ssh_config
from cockpit.inventory.build import Options, build
from cockpit.inventory.found import BadSource
from cockpit.inventory.text import fresh
from cockpit.model.load import load_text


def test_a_configuration(tmp_path: Path) -> None:
    (tmp_path / ".ssh" / "more.d").mkdir(parents=True)
    config = tmp_path / ".ssh" / "config"
    config.write_text("""\
Include more.d/*.conf
Include ~/nowhere
Host web1 web2   # two
    HostName 10.0.0.%h
    User = "deploy"
Host db
  HostName=db.example
  ProxyCommand ssh -W %h:%p -q ops@gate
Match host x exec "true"
  User nobody
Host odd
  HostName 10.9.0.1
  Port 99999
  ProxyCommand nc %h %p
Host * !db
  ProxyJump a,b@c:2200
  Port 2222
Host db
  Port 1234
  User late
""")
    (tmp_path / ".ssh" / "more.d" / "a.conf").write_text("Host inner\n  HostName 10.5.5.5\n  ProxyJump none\n")
    found = ssh_config.read(config, tmp_path)
    by_name = {m.name: m for m in found.machines}
    assert list(by_name) == ["inner", "web1", "web2", "db", "odd"]
    assert by_name["web1"].address == "10.0.0.web1" and by_name["web1"].user == "deploy"
    assert by_name["web1"].jump == ("a", "b@c:2200") and by_name["web1"].port == 2222
    db = by_name["db"]
    assert (db.address, db.port, db.user, db.jump) == ("db.example", 1234, "late", ("ops@gate",))
    assert by_name["inner"].jump == () and by_name["odd"].port == 22 and by_name["odd"].jump == ()
    remarks = "\n".join(map(str, found.remarks))
    assert f'{config}:9: Match host x exec "true" is not understood' in remarks
    assert f"{config}:2: Include ~/nowhere: no such file" in remarks
    built = build(found, Options(), {"10.0.0.web1": "10.0.0.1", "10.0.0.web2": "10.0.0.2", "db.example": "10.0.0.3"})
    text = fresh(built, found.title)
    hosts = load_text(text.encode()).expected.hosts
    assert hosts["db"].ssh is not None and hosts["db"].ssh.address == "db" and hosts["db"].address == "10.0.0.3"
    assert f"# from {config}:6" in text and "# db.example had this address" in text


def test_a_file_that_is_not_there_or_includes_itself(tmp_path: Path) -> None:
    with pytest.raises(BadSource, match="No such file"):
        ssh_config.read(tmp_path / "config", tmp_path)
    (tmp_path / "config").write_text(f"Include {tmp_path}/config\n")
    with pytest.raises(BadSource, match="deeper than"):
        ssh_config.read(tmp_path / "config", tmp_path)
