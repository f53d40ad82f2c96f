"""The table of the topology file, continued: regions, hosts, relays, and what belongs to hosts."""

from __future__ import annotations

from cockpit.model.kinds import Field, ListOf, MapOf, Object, integer, text, truth, word
from cockpit.model.scalars import (
    ABSOLUTE,
    ADDRESS,
    ARGV,
    CONSTRAINT,
    HOST,
    LABEL,
    MANY,
    NAME,
    PORT_RANGE,
    RATE,
    SIZE,
    SOME_TIME,
    USER,
    WORDS,
)
from cockpit.model.topology import Host, Region, Relay, Runtime, Schedule, Ssh

PORT_NUMBER = integer("a port number", 1, 65535)
JUMP = text("[USER@]HOST[:PORT]", pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.@-]*@)?[A-Za-z0-9_.:\[\]-]+$")
PROXY = text("a proxy such as http://10.0.0.1:3128", pattern=r"^http://[A-Za-z0-9_.:\[\]-]+:[0-9]{1,5}$")

SSH = Object(
    Ssh, "a way in by SSH",
    (
        Field("address", text("an address", pattern=r"^[A-Za-z0-9_.:-]+$"), "Left out: the host's own."),
        Field("port", PORT_NUMBER, "Port of its sshd.", default=22),
        Field("user", text("the name of a user", pattern=USER), "Left out: as ssh_config says."),
        Field("jump", ListOf(JUMP, "a list of [USER@]HOST[:PORT]"), "Hosts on the way, in this order."),
        Field("listen", PORT_NUMBER, "Port on its loopback where the controller appears to its agent."),
        Field("listen_origin", PORT_NUMBER, "The same for artifacts."),
        Field("directory", text("an absolute path", pattern=ABSOLUTE), "Where releases lie without an agent."),
    ),
)  # fmt: skip

RUNTIME = Object(
    Runtime, "a runtime",
    (
        Field("systemd", text("the name of a unit"), "systemd runs this unit; templates as in the command."),
        Field("supervisord", text("the name of a program"), "supervisord runs it: PROGRAM or GROUP:PROGRAM."),
        Field("pidfile", text("an absolute path", pattern=ABSOLUTE), "It runs by itself and writes its pid here."),
    ),
)  # fmt: skip

SCHEDULE = Object(
    Schedule, "a schedule",
    (
        Field("cron", text("five fields such as */5 * * * *, or @hourly"), "When, in local time.", fill=""),
        Field("argv", ARGV, "The program and its arguments, one word each.", fill=("true",)),
        Field("hosts", ListOf(CONSTRAINT, "a list of constraints", unique=True), "On hosts that meet all of these."),
        Field("timeout", SOME_TIME, "It is ended after this time.", default="1m"),
        Field("user", text("the name of a user", pattern=USER), "Run as this user."),
        Field("overlap", word("skip", "allow"), "When the one before still runs.", default="skip"),
    ),
)  # fmt: skip

_COUNT = integer("a number", 0, MANY)
TRANSPORTS = ListOf(word("websocket", "http2", "polling"), "a list of transports", unique=True)

REGION = Object(
    Region, "a region",
    (
        Field(
            "reaches", ListOf(NAME, "a list of regions", unique=True),
            "Regions that processes here can open connections to; left out: all of them.",
        ),
        Field("push_rate", RATE, "Bytes per second that pushes may take on the way into this region."),
        Field("transports", TRANSPORTS, "In which order agents here try them."),
        Field("proxy", PROXY, "HTTP proxy that agents here go through."),
        Field("shell", truth(), "false: operators cannot open shells on hosts here.", default="true"),
    ),
    none=True,
)  # fmt: skip

HOSTS = Object(
    Host, "a host",
    (
        Field("region", NAME, "Name of its region.", fill=""),
        Field("address", ADDRESS, "IP address that its services listen on and are reached at.", fill=""),
        Field("labels", MapOf(LABEL, WORDS, "labels"), "Free labels that constraints can ask for."),
        Field(
            "connection", word("agent", "local", "ssh"),
            "agent: its agent dials in. local: started on this machine by the controller. ssh: no agent.",
            default="agent",
        ),
        Field("ssh", SSH, "How the controller enters it: without an agent, or to open the agent's way (listen)."),
        Field(
            "ports", PORT_RANGE, "Dynamic ports, first and last.", attribute="port_range",
            default="20000-20999",
        ),
        Field("max_instances", _COUNT, "Place at most so many instances here."),
        Field("push_rate", RATE, "Bytes per second that pushes may receive here, and as many to send."),
        Field("shell", truth(), "false: operators cannot open a shell here.", default="true"),
    ),
)  # fmt: skip

RELAY = Object(
    Relay, "a relay",
    (
        Field("region", NAME, "The region it serves.", fill=""),
        Field("address", ADDRESS, "IP address that it listens on and is reached at.", fill=""),
        Field("port", integer("a port number", 0, 65535), "Port; 0 is any free one (local relays only)."),
        Field("link_port", integer("a port number", 0, 65535), "Port for agents' links; left out: it carries none."),
        Field("upstream", HOST, "The relay that it asks; left out: the controller."),
        Field("ssh", SSH, "The controller enters it by SSH, because it cannot reach the controller."),
        Field("cache", SIZE, "Room for artifacts; the least recently used goes first.", default="20G"),
        Field("push_rate", RATE, "Bytes per second that it may send."),
        Field(
            "connection", word("agent", "local"),
            "agent: runs on its own machine. local: started on this machine by the controller.",
            default="agent",
        ),
    ),
)  # fmt: skip
