"""What a host without an agent does not have. For its card; `docs/ssh.md` says more."""

from __future__ import annotations

MISSING: tuple[str, ...] = (
    "A crash is seen at the next look (2 to 5 s), not within milliseconds.",
    "Nothing restarts by Cockpit's policy; systemd and supervisord restart by their own.",
    "After a reboot only systemd and supervisord start services again; programs with a pid file of ours stay down.",
    "How a program with a pid file ended is not known: its exit is `unknown`.",
    "Cockpit's environment reaches only programs that it starts itself, not those of systemd or supervisord.",
    "Notify checks and the watchdog are not available; other checks go over SSH, once a second at most.",
    "Probes by exec or http are not asked: roles and slots of programs here are not known.",
    "Releases come from the controller over SSH, not from the swarm of the region; a host here passes nothing on.",
    "Data artifacts cannot be activated beside a running release.",
    "Builds do not run here.",
    "Programs here have no naming socket and no names cache.",
    "Core files and peak memory of ended programs are not kept.",
    "Only declared ports are forwarded: what a process listens on beside them is not known.",
    "Logs are not rotated by Cockpit; at most 4 are followed at once.",
    "While nobody can enter by SSH the host is unknown: nothing here acts by itself.",
)
