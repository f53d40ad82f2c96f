"""DIR/relay.json: what a relay knows about its place. Written at joining, or by the controller beside it."""

from __future__ import annotations

import json
import os
from typing import Any, Dict, NamedTuple, Optional, Tuple

CACHE = 20 * 1024**3
MAX_DOC = 64 * 1024


class BadSettings(Exception):
    """What is wrong, as a sentence for the operator."""


class Settings(NamedTuple):
    """`cache` in bytes, `rate` in bytes per second (0: unlimited). An `upstream` of "" is the origin.

    `link_port` is None where no links are carried, `link_upstream` are URLs in the order to try, `link_proxy` is
    http://HOST:PORT for them; `below` are the relays that may connect here, each with those it may speak for.
    """

    region: str = ""
    address: str = ""
    port: int = 0
    cache: int = CACHE
    rate: int = 0
    upstream: str = ""
    upstream_address: str = ""
    upstream_port: int = 0
    link_port: Optional[int] = None
    link_upstream: Tuple[str, ...] = ()
    link_proxy: str = ""
    below: Tuple[Tuple[str, Tuple[str, ...]], ...] = ()

    @classmethod
    def of(cls, doc: Any) -> "Settings":
        """From the document of relay.json. Raises BadSettings."""
        if not isinstance(doc, dict) or not isinstance(doc.get("upstream", {}), dict):
            raise BadSettings("the settings of a relay are a JSON object with an object `upstream`")
        above, link = doc.get("upstream", {}), doc.get("link") or {}
        if not isinstance(link, dict) or not isinstance(link.get("below", {}), dict):
            raise BadSettings("link: an object is wanted, with an object `below`")
        return cls(
            _text(doc, "region"), _text(doc, "address"), _number(doc, "port", 0, 65535),
            _number(doc, "cache", CACHE), _number(doc, "rate", 0),
            _text(above, "name"), _text(above, "address"), _number(above, "port", 0, 65535),
            _number(link, "port", 0, 65535) if link else None, _texts(link.get("upstream", []), "link.upstream"),
            _text(link, "proxy"),
            tuple((str(n), _texts(names, f"link.below.{n}")) for n, names in link.get("below", {}).items()),
        )

    @classmethod
    def load(cls, directory: str) -> "Settings":
        """Nothing is known when there is no file. Raises BadSettings when it is damaged."""
        path = os.path.join(directory, "relay.json")
        try:
            with open(path, "rb") as f:
                return cls.of(json.loads(f.read(MAX_DOC)))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError) as e:
            raise BadSettings(f"{path}: {e}") from None
        except BadSettings as e:
            raise BadSettings(f"{path}: {e}") from None

    def doc(self) -> Dict[str, Any]:
        above = {"name": self.upstream, "address": self.upstream_address, "port": self.upstream_port}
        found: Dict[str, Any] = {
            "region": self.region, "address": self.address, "port": self.port, "cache": self.cache,
            "rate": self.rate, "upstream": above,
        }
        if self.link_port is not None:
            found["link"] = {
                "port": self.link_port, "upstream": list(self.link_upstream), "proxy": self.link_proxy,
                "below": {name: list(names) for name, names in self.below},
            }
        return found

    def merged(self, given: Dict[str, Any]) -> "Settings":
        """With the values of `given` that are not None: fields by name, `upstream` as [RELAY@]HOST:PORT,
        `link_upstream` as a list of URLs.

        Raises BadSettings.
        """
        changes = {k: v for k, v in given.items() if v is not None and k not in ("upstream", "link_upstream")}
        if given.get("link_upstream") is not None:
            changes["link_upstream"] = tuple(given["link_upstream"])
        if given.get("upstream") is not None:
            changes["upstream"], changes["upstream_address"], changes["upstream_port"] = place(given["upstream"])
        found = self._replace(**changes)
        for port in (found.port, found.link_port or 0):
            if not 0 <= port <= 65535:
                raise BadSettings(f"{port} is not a port number")
        return found

    def complete(self) -> "Settings":
        """Itself. Raises BadSettings when it does not say where to listen or whom to ask."""
        if not self.address:
            raise BadSettings("say where the relay listens: --address IP")
        if not self.upstream_address or not self.upstream_port:
            raise BadSettings("say whom the relay asks: --upstream [RELAY@]HOST:PORT")
        if self.link_port is not None and not self.link_upstream:
            raise BadSettings("say where the controller, or the relay above, takes links: --link-upstream URL")
        return self


def place(text: str) -> Tuple[str, str, int]:
    """(relay or "", host, port) of [RELAY@]HOST:PORT. Raises BadSettings."""
    name, _, where = text.rpartition("@")
    host, colon, port = where.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) <= 65535:
        raise BadSettings(f"{text!r} is no upstream; [RELAY@]HOST:PORT is wanted")
    return name, host.strip("[]"), int(port)


def _texts(value: Any, what: str) -> Tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) and len(v) <= 256 for v in value):
        raise BadSettings(f"{what}: a list of short texts is wanted")
    return tuple(value)


def _text(doc: Dict[str, Any], key: str) -> str:
    value = doc.get(key, "")
    if not isinstance(value, str) or len(value) > 256:
        raise BadSettings(f"{key}: a short text is wanted")
    return value


def _number(doc: Dict[str, Any], key: str, default: int, top: Optional[int] = None) -> int:
    value = doc.get(key, default)
    if type(value) is not int or value < 0 or (top is not None and value > top):
        raise BadSettings(f"{key}: {value!r} is not a number that fits")
    return value
