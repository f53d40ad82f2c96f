"""Ways to hosts, runtimes, schedules and log files in the topology file."""

from __future__ import annotations

import pytest

from cockpit.model.load import load_text
from cockpit.model.topology import Relay, Runtime, Schedule, Ssh
from tests.model.snippets import expect, tree

PLACES = """\
cockpit: 1
name: t
regions: {{r: {region}}}
hosts: {{a: {{region: r, address: 10.0.0.1{host}}}}}
relays:
  x: {{region: r, address: 10.0.0.9, port: 7800{relay}}}
  y: {{region: r, address: 10.0.0.8, port: 7800{other}}}
{more}
"""


def places(*, region: str = "{}", host: str = "", relay: str = "", other: str = "", more: str = "") -> str:
    return PLACES.format(region=region, host=host, relay=relay, other=other, more=more)


@pytest.mark.parametrize(
    ("marked", "text"),
    [
        (places(host=", connection: ssh, ssh: ¦{listen: 7700}"), "nobody would dial in"),
        (places(host=", ssh: ¦{user: ops}"), "say at which port the controller appears there: listen"),
        (places(host=", connection: local, ssh: ¦{listen: 7700}"), "needs no ssh"),
        (places(host=", connection: ssh, ssh: {jump: [¦'a b']}"), "[USER@]HOST[:PORT]"),
        (places(relay=", link_port: ¦0"), "a port that others know"),
        (places(relay=", link_port: ¦7800"), "a port each"),
        (places(relay=", ssh: ¦{user: ops}"), "needs `listen`"),
        (places(relay=", link_port: 7801, upstream: ¦y"), "y carries no links"),
        (places(region="{proxy: ¦'ftp://x'}"), "http://10.0.0.1:3128"),
        (places(region="{transports: [¦smoke]}"), "polling"),
        (places(more="schedules: {n: {cron: ¦'1 2 3', argv: [x]}}"), "five fields or @hourly"),
        (places(more="schedules: {n: {cron: '@daily', argv: [x], hosts: [¦'d=s']}}"), 'no host has a label "d"'),
        (tree("s: {command: [x], runtime: ¦{}}"), "exactly one of systemd"),
        (tree("s: {command: [x], runtime: ¦{systemd: a, pidfile: /x}}"), "exactly one of systemd"),
        (tree("s: {command: [x], runtime: {systemd: ¦'x@{slto}'}}"), '(did you mean "slot"?)'),
        (tree("s: {command: [x], logs: {¦stdout: /x}}"), "its own output"),
        (tree("s: {command: [x], logs: {a: ¦'/x/{prot}'}}"), '(did you mean "port"?)'),
    ],
)  # fmt: skip
def test_the_file_is_checked(marked: str, text: str) -> None:
    expect(marked, text)


def test_a_good_file() -> None:
    text = places(
        region="{transports: [polling, http2], proxy: 'http://10.0.0.9:3128'}",
        host=", connection: ssh, ssh: {user: ops, jump: [li@bastion:2222]}", relay=", link_port: 7801",
        other=", link_port: 7801, upstream: x, ssh: {listen: 7700}",
        more="schedules: {tidy: {cron: '*/5 * * * *', argv: [tidy, now], hosts: [host=a]}}\n"
        "tree: {s: {command: [x], runtime: {systemd: 'x@{slot}'}, logs: {access: '{directory}/access.log'}}}",
    )
    found = load_text(text.encode(), "t.yaml").expected
    assert found.regions["r"].transports == ("polling", "http2")
    assert found.hosts["a"].ssh == Ssh(user="ops", jump=("li@bastion:2222",))
    assert found.relays["y"] == Relay(
        region="r", address="10.0.0.8", port=7800, link_port=7801, upstream="x", ssh=Ssh(listen=7700)
    )
    assert found.schedules == {"tidy": Schedule(cron="*/5 * * * *", argv=("tidy", "now"), hosts=("host=a",))}
    assert found.services["s"].runtime == Runtime(systemd="x@{slot}")
    assert found.services["s"].logs == {"access": "{directory}/access.log"}
