"""DIR/identity: who this host is, and how it knows its controller.

`cert.pem` is replaced by renewals together with its key. Two files cannot be replaced at one moment, so since the
first renewal `cert.pem` holds the certificate and the key, and `key.pem` is a link to it: readers of either file
always find a pair that belongs together.
"""

from __future__ import annotations

import os
import shutil
import ssl
import tempfile
from dataclasses import dataclass
from typing import Any, Dict, List, Optional
from urllib.parse import unquote, urlsplit

from cockpit.agent.files import make_dir, read_json, sync_dir, write_atomic, write_json

MAX_PEM = 64 * 1024


class IdentityError(Exception):
    """There is no usable identity here; the text says what to do."""


class WrongController(ssl.SSLError):
    """Its certificate is of our cluster's authority, but it is not a controller's."""


@dataclass(frozen=True)
class Identity:
    dir: str
    name: str
    uuid: str
    cluster: str
    controllers: List[str]
    address: str = ""

    @classmethod
    def load(cls, host_dir: str) -> Optional["Identity"]:
        """None when this host has not joined. Raises IdentityError when it is damaged."""
        dir = os.path.join(host_dir, "identity")
        if not os.path.isdir(dir) and not _put_back(host_dir):
            return None
        doc = read_json(os.path.join(dir, "host.json"))
        missing = [n for n in ("key.pem", "cert.pem", "ca.pem") if not os.path.isfile(os.path.join(dir, n))]
        if not isinstance(doc, dict) or missing:
            what = ", ".join(missing) or "host.json"
            raise IdentityError(f"{dir} is damaged ({what}); remove it and join again")
        try:
            return cls(
                dir, str(doc["name"]), str(doc["uuid"]), str(doc["cluster"]),
                [str(url) for url in doc["controllers"]], str(doc.get("address", "")),
            )
        except (KeyError, TypeError):
            raise IdentityError(f"{dir}/host.json is damaged; remove {dir} and join again") from None

    def context(self) -> ssl.SSLContext:
        """Client side of the mutual TLS: only this cluster's authority counts, host names do not."""
        context = pinned_context(cafile=os.path.join(self.dir, "ca.pem"))
        context.load_cert_chain(os.path.join(self.dir, "cert.pem"), os.path.join(self.dir, "key.pem"))
        return context


def of_another(identity: Identity, token: str) -> bool:
    """Is the token of another authority than this identity? Its controller's state was lost, then: join anew.

    A spent token of the same one is nothing new: it may stay where an init system has it.
    """
    from cockpit.link.tokens import BadToken, fingerprint_der, parse_token

    try:
        with open(os.path.join(identity.dir, "ca.pem")) as f:
            ours = fingerprint_der(ssl.PEM_cert_to_DER_cert(f.read()))
        return parse_token(token).fp.lower() != ours
    except (BadToken, OSError, ValueError):
        return False


def pinned_context(cafile: Optional[str] = None, cadata: Optional[bytes] = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cafile=cafile, cadata=cadata)
    return context


def check_controller(peercert: Optional[Dict[str, Any]], cluster: Optional[str]) -> str:
    """The cluster the peer controls. Raises WrongController when it is none, or not `cluster`'s."""
    for kind, value in (peercert or {}).get("subjectAltName", ()):
        if kind == "URI" and value.startswith("cockpit://controller/"):
            found = unquote(value[len("cockpit://controller/") :])
            if cluster is not None and found != cluster:
                raise WrongController(f"this is the controller of {found}, not of {cluster}")
            return found
    raise WrongController("the other side is not a controller of this cluster")


def origin(url: str) -> str:
    """`https://HOST:PORT` of a controller URL in any of the forms people write. Raises ValueError."""
    if "://" not in url:
        url = "https://" + url
    parts = urlsplit(url)
    if parts.scheme not in ("https", "wss") or not parts.hostname:
        raise ValueError(f"{url!r} is not the URL of a controller; https://HOST:PORT is wanted")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"https://{host}:{parts.port or 443}"


def write_identity(
    host_dir: str, *, key: str, cert: str, ca: str, name: str, uuid: str, controllers: List[str],
    cluster: str, address: str = "",
) -> None:
    """Write DIR/identity as a whole (0700, files 0600). An older one is replaced.

    Raises ValueError for a URL that is not one.
    """
    for url in controllers:
        origin(url)
    make_dir(host_dir)
    target = os.path.join(host_dir, "identity")
    new = tempfile.mkdtemp(prefix=".identity.", dir=host_dir)
    try:
        for file, text in (("key.pem", key), ("cert.pem", cert), ("ca.pem", ca)):
            write_atomic(os.path.join(new, file), text.encode(), 0o600)
        doc = {
            "name": name, "uuid": uuid, "cluster": cluster, "controllers": controllers, "address": address,
        }
        write_json(os.path.join(new, "host.json"), doc)
        if os.path.isdir(target):
            shutil.rmtree(_old(host_dir), ignore_errors=True)
            os.rename(target, _old(host_dir))
        os.rename(new, target)
        sync_dir(host_dir)
        shutil.rmtree(_old(host_dir), ignore_errors=True)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def replace_pair(dir: str, *, key: str, cert: str) -> None:
    """Put a renewed certificate and its key (PEM) into the identity directory DIR.

    Whenever this is interrupted, what is on disk is the old pair or the new one. Raises OSError.
    """
    one, link = os.path.join(dir, "cert.pem"), os.path.join(dir, "key.pem")
    if not os.path.islink(link):
        with open(one, "rb") as c, open(link, "rb") as k:
            both = c.read(MAX_PEM) + b"\n" + k.read(MAX_PEM)
        write_atomic(one, both, 0o600)
        new = f"{link}.new.{os.getpid()}"
        try:
            os.unlink(new)
        except FileNotFoundError:
            pass
        os.symlink("cert.pem", new)
        os.replace(new, link)
        sync_dir(dir)
    write_atomic(one, cert.encode() + b"\n" + key.encode(), 0o600)


def _old(host_dir: str) -> str:
    return os.path.join(host_dir, ".identity.old")


def _put_back(host_dir: str) -> bool:
    """Joining anew was cut off between its two renames: what was there before is the identity."""
    try:
        os.rename(_old(host_dir), os.path.join(host_dir, "identity"))
    except OSError:
        return False
    return True
