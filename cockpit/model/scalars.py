"""The plain values of the topology file: names, times, sizes, rates, addresses, ports."""

from __future__ import annotations

from cockpit.model import units
from cockpit.model.constraints import REQUIREMENT, parse_requirement
from cockpit.model.kinds import Either, ListOf, Scalar, integer, text
from cockpit.model.problems import Wrong

TREE_NAME = (r"^[a-z0-9][a-z0-9_-]{0,62}$", "a name of a-z, 0-9, - and _, beginning with a letter or digit")
HOST_NAME = (r"^[a-z0-9]([a-z0-9_.-]{0,251}[a-z0-9])?$", "a host name of a-z, 0-9, dots, - and _")
VARIABLE = (r"^[A-Za-z_][A-Za-z0-9_]{0,254}$", "the name of an environment variable")
LABEL = (r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$", "a name of letters, digits, dots, - and _")
ABSOLUTE = r"^/.+$"
USER = r"^[A-Za-z0-9_][A-Za-z0-9_.@-]*$"
MANY = 1_000_000


def _duration(low: float = 0.0) -> Scalar:
    def parse(written: str) -> float:
        value = units.parse_duration(written)
        if value < low:
            raise Wrong(f"{written} is too short; at least {units.format_duration(low)}")
        return value

    schema = {"anyOf": [{"type": "string", "pattern": units.DURATION}, {"type": "number", "minimum": low}]}
    return Scalar(
        "a duration such as 500ms, 2s, 1m, 1h", schema, types=("str", "int", "float"), parse=parse,
        show=units.format_duration,
    )  # fmt: skip


def _rate(written: str) -> int:
    value = units.parse_size(written)
    if value < 16 * 1024:
        raise Wrong(f"{written} is too slow for a push; at least 16K")
    return value


def _requirement(written: str) -> str:
    parse_requirement(written)
    return written


NAME = text(TREE_NAME[1], pattern=TREE_NAME[0])
HOST = text(HOST_NAME[1], pattern=HOST_NAME[0])
LABEL_TEXT = text(LABEL[1], pattern=LABEL[0])
WORDS = text("text", loose=True)
DURATION, SOME_TIME = _duration(), _duration(0.001)
SIZE = Scalar(
    "a size such as 512M, 1G, or bytes",
    {"anyOf": [{"type": "string", "pattern": units.SIZE}, {"type": "integer", "minimum": 0}]},
    types=("str", "int"), parse=units.parse_size, show=units.format_size,
)  # fmt: skip
SIGNAL = Scalar(
    "the name of a signal such as TERM",
    {"enum": [*units.SIGNALS, *(f"SIG{s}" for s in units.SIGNALS)]},
    parse=units.parse_signal,
)
ADDRESS = Scalar(
    "an IP address", {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
    parse=units.parse_address,
)  # fmt: skip
PORT_RANGE = Scalar(
    "a range of ports such as 20000-20999", {"type": "string", "pattern": units.PORT_RANGE},
    parse=units.parse_port_range, show=units.format_port_range,
)  # fmt: skip
CONSTRAINT = Scalar(
    "a constraint such as disk=ssd", {"type": "string", "pattern": REQUIREMENT}, parse=_requirement
)
SERVICE_NAME = text("the name of a service", pattern=r"^[a-z0-9][a-z0-9_.-]*$")
ARGV = ListOf(WORDS, "a list of words such as [python3, web.py]", least=1)
PORT = Either("dynamic", 0, integer("a port number", 1, 65535))
RATE = Scalar(
    "a rate in bytes per second such as 10M",
    {"anyOf": [{"type": "string", "pattern": units.SIZE}, {"type": "integer", "minimum": 1}]},
    types=("str", "int"), parse=_rate, show=units.format_size,
)  # fmt: skip
SIGNING_KEY = text("a public key such as ed25519:BASE64", pattern=r"^ed25519:[A-Za-z0-9+/]{43}=$")
VERSION = text("a version", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,127}$", loose=True)
