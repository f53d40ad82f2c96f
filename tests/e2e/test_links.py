"""Which way a host is reached, on a real controller, relay and agent."""

from __future__ import annotations

import socket

from tests.e2e.cluster import cluster
from tests.helpers import free_port, loopback

TOPOLOGY = """cockpit: 1
name: links
regions:
  bj: {}
hosts:
  h-1: {region: bj, address: @HOST@, connection: local}
relays:
  relay-1: {region: bj, address: @RELAY@, connection: local, link_port: @PORT@}
tree:
  app:
    command: [sh, -c, "while :; do echo line; sleep 0.2; done"]
    version: "1"
    instances: {hosts: [h-1]}
"""


def test_a_host_that_was_up_before_its_relay_moves_there_soon() -> None:
    relay = loopback()
    port = free_port(relay)
    text = TOPOLOGY.replace("@HOST@", loopback()).replace("@RELAY@", relay).replace("@PORT@", str(port))
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((relay, port))  # nobody listens there, and the relay cannot either
        with cluster(text) as c:
            c.wait(lambda: c.presence("h-1")["presence"] == "up" and "app/0" in c.pids(), 60, "the host is up")
            assert c.presence("h-1")["path"] == []
            pids, agent = c.pids(), c.presence("h-1")["agent_pid"]
            taken.close()
            c.wait(lambda: c.presence("h-1")["path"] == ["relay-1"], 150, "it is reached through its relay")
            row = c.presence("h-1")
            assert (row["presence"], row["agent_pid"], c.pids()) == ("up", agent, pids)
