"""supervisord: `supervisorctl` for acting, its XML-RPC (over the Unix socket) for what it knows.

`supervisorctl status` does not tell exit codes; XML-RPC does, but only in the state EXITED: in BACKOFF and FATAL
supervisor 4.2 answers 0 whatever the program said.
"""

from __future__ import annotations

import base64
import configparser
import re
import xmlrpc.client
from typing import Any, Dict, List, NamedTuple, Sequence

from cockpit.agent.runtimes import seen
from cockpit.agent.runtimes.seen import Seen

CONFIGS = ("/etc/supervisor/supervisord.conf", "/etc/supervisord.conf", "/usr/local/etc/supervisord.conf")
MAX_ANSWER = 8 * 1024 * 1024
MAX_CONFIG = 256 * 1024
STATES = {
    "STOPPED": seen.STOPPED, "STARTING": seen.STARTING, "RUNNING": seen.RUNNING, "BACKOFF": seen.BACKOFF,
    "STOPPING": seen.STOPPING, "EXITED": seen.EXITED, "FATAL": seen.FAILED, "UNKNOWN": seen.UNKNOWN,
}
LINE = re.compile(r"(\S+)\s+([A-Z]+)(?:\s+(.*))?")
UPTIME = re.compile(r"pid ([0-9]+), uptime (?:([0-9]+) days?, )?([0-9]+):([0-9]{2}):([0-9]{2})")


class Control(NamedTuple):
    """Where a supervisord listens, as its configuration says."""

    socket: str = ""
    user: str = ""
    password: str = ""


def control_of(config: str, here: str) -> Control:
    """From the text of a configuration whose directory is `here`; an empty socket when there is none."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    try:
        parser.read_string(config[:MAX_CONFIG])
    except configparser.Error:
        return Control()

    def get(name: str) -> str:
        return parser.get("unix_http_server", name, fallback="").strip()

    return Control(get("file").replace("%(here)s", here), get("username"), get("password"))


def act(verb: str, name: str, config: str = "") -> List[str]:
    """argv for start, stop or restart; supervisorctl waits until it is done (start: `startsecs`)."""
    if verb not in ("start", "stop", "restart"):
        raise ValueError(f"{verb} is no verb of supervisorctl that is used here")
    return [*_ctl(config), verb, name]


def kill(name: str, signal: str, config: str = "") -> List[str]:
    return [*_ctl(config), "signal", signal, name]


def status(names: Sequence[str], config: str = "") -> List[str]:
    return [*_ctl(config), "status", *names]


def _ctl(config: str) -> List[str]:
    return ["supervisorctl", *(["-c", config] if config else [])]


def parse_status(text: str, now: float) -> Dict[str, Seen]:
    """Output of `supervisorctl status` -> name (`group:program`, or the program alone)."""
    found: Dict[str, Seen] = {}
    for line in text.splitlines():
        if ": ERROR (no such" in line:
            found[line.partition(": ERROR")[0]] = Seen(seen.MISSING, reason="supervisord knows no such program")
            continue
        match = LINE.fullmatch(line.strip())
        if match is None or match[2] not in STATES:
            continue
        state, more = STATES[match[2]], match[3] or ""
        up = UPTIME.fullmatch(more)
        if up:
            seconds = ((int(up[2] or 0) * 24 + int(up[3])) * 60 + int(up[4])) * 60 + int(up[5])
            found[match[1]] = Seen(state, pid=int(up[1]), identity=up[1], started=now - seconds)
        else:
            found[match[1]] = Seen(state, reason=more if state in (seen.BACKOFF, seen.FAILED) else "")
    return found


def refusal(text: str) -> str:
    """The sentence of a `start` or `stop` that failed; empty when it is done or was so already."""
    wrong = [line for line in text.splitlines() if ": ERROR (" in line]
    wrong = [line for line in wrong if not line.endswith(("(already started)", "(not running)"))]
    return "; ".join(wrong)


def info_request(control: Control) -> bytes:
    """The HTTP request for what supervisord knows of all its programs."""
    body = xmlrpc.client.dumps((), "supervisor.getAllProcessInfo").encode()
    head = ["POST /RPC2 HTTP/1.0", "Host: localhost", "Content-Type: text/xml", f"Content-Length: {len(body)}"]
    if control.user:
        pair = base64.b64encode(f"{control.user}:{control.password}".encode()).decode()
        head.append(f"Authorization: Basic {pair}")
    return "\r\n".join([*head, "", ""]).encode() + body


def parse_info(response: bytes) -> Dict[str, Seen]:
    """The whole HTTP response. Raises ValueError with a sentence."""
    head, gap, body = response.partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].split(None, 2)
    if not gap or len(words) < 2 or not words[0].startswith(b"HTTP/"):
        raise ValueError("supervisord did not answer with HTTP")
    if words[1] != b"200":
        raise ValueError(f"supervisord answered {words[1].decode('ascii', 'replace')}")
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise ValueError("supervisord's answer defines entities")
    try:
        (infos,), _ = xmlrpc.client.loads(body)
    except (xmlrpc.client.Error, ValueError, TypeError) as e:
        raise ValueError(f"supervisord: {e}") from None
    except Exception as e:  # expat's own
        raise ValueError(f"supervisord's answer is no XML: {e}") from None
    found: Dict[str, Seen] = {}
    for info in infos if isinstance(infos, list) else []:
        if isinstance(info, dict) and isinstance(info.get("name"), str):
            name, group = info["name"], info.get("group")
            found[name if group in ("", None, name) else f"{group}:{name}"] = _seen(info)
    return found


def _seen(info: Dict[str, Any]) -> Seen:
    state = STATES.get(str(info.get("statename")), seen.UNKNOWN)
    pid, started, ended = (int(info.get(k) or 0) for k in ("pid", "start", "stop"))
    code, reason = None, ""
    if state == seen.EXITED:
        code = int(info.get("exitstatus", -1))
        if code < 0:
            code, reason = None, "ended by a signal; supervisord does not keep which"
    elif state in (seen.BACKOFF, seen.FAILED):
        reason = str(info.get("spawnerr") or "")
    return Seen(
        state, pid=pid or None, identity=f"{pid}@{started}" if pid else "", started=started or None,
        ended=ended or None if not pid else None, code=code, reason=reason,
        stdout=str(info.get("stdout_logfile") or ""), stderr=str(info.get("stderr_logfile") or ""),
    )
