"""The texts that a host gets: two systemd units, a line of a crontab. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

KEEPER, AGENT = "cockpit-keeper.service", "cockpit-agent.service"
PLAIN = re.compile(r"/[A-Za-z0-9._/@+-]*")
"""Words that mean the same to systemd, to cron and to a shell. Others are refused rather than quoted three ways."""
MARK = "# cockpit"


class NotPlain(ValueError):
    """A path that cannot stand in a unit or a crontab as it is."""


def plain(path: str) -> str:
    """The same. Raises NotPlain."""
    if not PLAIN.fullmatch(path) or "//" in path or "/../" in path + "/":
        raise NotPlain(f"{path!r}: an absolute path of letters, digits and ._-@+ is wanted")
    return path


def _line(argv: Sequence[str]) -> str:
    return " ".join(word if re.fullmatch(r"-{1,2}[a-z-]+|[a-z]+", word) else plain(word) for word in argv)


def keeper_unit(program: Sequence[str], directory: str, version: int) -> str:
    """The keeper's unit. Nothing that systemd does to it or to the agent reaches a service.

    `program` is how the bundle is started, `version` that of systemd. Raises NotPlain.
    """
    # `exec` says at once when the program cannot be started; before 240 there was no such type
    kind = "exec" if version >= 240 else "simple"
    return f"""\
# Made by `cockpit bootstrap`. Put changes into a drop-in: systemctl edit {KEEPER}
[Unit]
Description=Cockpit keeper: holds the services of this host
After=local-fs.target network.target
RequiresMountsFor={plain(directory)}
StartLimitIntervalSec=0

[Service]
Type={kind}
ExecStart={_line([*program, "keeper", "--dir", directory])}
Environment=COCKPIT_UNPACK={plain(directory)}/bundle
Restart=always
RestartSec=200ms
# its services are in its control group: they outlive it, and it takes them up again
KillMode=process
OOMPolicy=continue
OOMScoreAdjust=-999
Delegate=yes
TasksMax=infinity

[Install]
WantedBy=multi-user.target
"""


def agent_unit(program: Sequence[str], directory: str) -> str:
    """The agent's unit. A new agent beside the old one becomes its main process by MAINPID=. Raises NotPlain."""
    return f"""\
# Made by `cockpit bootstrap`. Put changes into a drop-in: systemctl edit {AGENT}
[Unit]
Description=Cockpit agent: this host's link to its controller
Wants={KEEPER} network-online.target
After={KEEPER} network-online.target
RequiresMountsFor={plain(directory)}
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=all
ExecStart={_line([*program, "run", "--dir", directory, "--supervised"])}
Environment=COCKPIT_UNPACK={plain(directory)}/bundle
Restart=always
RestartSec=1
KillMode=process
OOMScoreAdjust=-500

[Install]
WantedBy=multi-user.target
"""


def cron_line(program: Sequence[str], directory: str) -> str:
    """Raises NotPlain."""
    words = _line([*program, "run", "--dir", directory])
    d = plain(directory)
    return f"@reboot COCKPIT_UNPACK={d}/bundle {words} >/dev/null 2>>{d}/boot.log {MARK} {d}"


def crontab(before: str, line: str) -> str:
    """The whole table with this line of ours, once; every other line as it was."""
    mark = line.partition(MARK)[1:]
    kept = [text for text in before.splitlines() if not text.endswith("".join(mark))]
    return "\n".join([*kept, line]) + "\n"
