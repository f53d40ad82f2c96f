"""Who is behind which relay, and by which ways everybody dials."""

from __future__ import annotations

from cockpit.controller.places import above, below, carries, regions, under, upstreams, ways
from cockpit.controller.relays import settings
from cockpit.model.topology import Expected, Host, Region, Relay, Ssh

RELAYS = {
    "top": Relay(region="sh", address="10.0.0.2", port=1, link_port=7701),
    "mid": Relay(region="bj", address="10.0.0.3", upstream="top", link_port=0, connection="local"),
    "low": Relay(region="gz", address="10.0.0.4", port=1, link_port=7703, upstream="mid"),
    "twin": Relay(region="gz", address="fd00::5", port=1, link_port=7704),
    "store": Relay(region="gz", address="10.0.0.6", port=1),
    "far": Relay(region="far", address="10.9.0.1", port=1, link_port=7705, ssh=Ssh(listen=4000, listen_origin=4001)),
}
HOSTS = {
    **{f"gz-{n}": Host(region="gz", address=f"10.1.0.{n + 1}") for n in range(40)},
    "sh-1": Host(region="sh", address="10.2.0.1"), "no-1": Host(region="none", address="10.3.0.1"),
    "ssh-1": Host(region="gz", address="10.4.0.1", connection="ssh"),
    "in-1": Host(region="gz", address="10.5.0.1", ssh=Ssh(listen=5000)),
}
EXPECTED = Expected(name="c", relays=RELAYS, hosts=HOSTS, regions={"sh": Region(proxy="http://p:1"), "gz": Region()})
URL = "https://10.0.0.1:7700"


def ports(relay: str) -> int:
    return {"mid": 40001}.get(relay, 0)


def test_up_and_down() -> None:
    assert above("low", RELAYS) == ("mid", "top") and above("top", RELAYS) == ()
    assert under("top", RELAYS) == ("low", "mid") and under("low", RELAYS) == ()
    assert below("top", RELAYS) == {"low": [], "mid": ["low"]}
    circle = {"a": Relay(region="x", address="1", upstream="b"), "b": Relay(region="x", address="1", upstream="a")}
    assert above("a", circle) == ("b",)


def test_for_whom_a_relay_speaks() -> None:
    assert regions("top", RELAYS) == {"sh", "bj", "gz"} and regions("low", RELAYS) == {"gz"}
    assert carries("top", "gz-1", EXPECTED) and carries("low", "gz-1", EXPECTED)
    for relay, host in (("low", "sh-1"), ("store", "gz-1"), ("top", "ssh-1"), ("top", "nobody"), ("nobody", "gz-1")):
        assert not carries(relay, host, EXPECTED), (relay, host)


def test_where_relays_dial() -> None:
    assert upstreams("low", RELAYS, URL, ports) == ["https://10.0.0.3:40001", "https://10.0.0.2:7701", URL]
    assert upstreams("low", RELAYS, URL, lambda relay: 0) == ["https://10.0.0.2:7701", URL]
    assert upstreams("far", RELAYS, URL, ports) == ["https://127.0.0.1:4000"]


def test_where_hosts_dial() -> None:
    both = ["https://10.0.0.4:7703", "https://[fd00::5]:7704"]
    found = {host: ways(host, EXPECTED, URL, ports) for host in HOSTS}
    assert all(w[-1] == URL and sorted(w[:-1]) == both for h, w in found.items() if h.startswith("gz"))
    assert 8 < sum(w[0] == both[0] for w in found.values()) < 32  # they share the hosts
    assert (found["sh-1"], found["no-1"]) == (["https://10.0.0.2:7701", URL], [URL])
    assert found["in-1"] == ["https://127.0.0.1:5000"]


def test_what_a_relay_is_told_of_links() -> None:
    def told(name: str) -> dict[str, object]:
        made = settings(
            name, RELAYS, ("10.0.0.1", 7411), ports, controller=URL, link_port_of=ports, regions=EXPECTED.regions
        )
        assert made is not None
        return made

    assert told("top")["link"] == {
        "port": 7701, "upstream": [URL], "proxy": "http://p:1", "below": {"low": [], "mid": ["low"]},
    }  # fmt: skip
    assert "link" not in told("store")
    assert told("far")["upstream"] == {"name": "", "address": "127.0.0.1", "port": 4001}
    assert told("far")["link"]["proxy"] == ""  # type: ignore[index]
