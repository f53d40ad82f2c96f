"""What a host is: kernel, distribution, processors, memory, virtualisation."""

from __future__ import annotations

import os
import sys
from typing import Any, Dict

VENDORS = (("qemu", "kvm"), ("kvm", "kvm"), ("vmware", "vmware"), ("virtualbox", "virtualbox"),
           ("innotek", "virtualbox"),
           ("microsoft", "hyper-v"), ("xen", "xen"),
           ("amazon ec2", "aws"), ("google", "gce"), ("alibaba", "alibaba"),
           ("openstack", "openstack"), ("digitalocean", "digitalocean"), ("parallels", "parallels"))  # fmt: skip


def facts() -> Dict[str, Any]:
    """{"kernel","arch","distribution","cpus","memory" (bytes),"booted" (Unix time),"virtual","python"}"""
    uname = os.uname()
    return {
        "kernel": uname.release, "arch": uname.machine, "distribution": distribution(_text("/etc/os-release")),
        "cpus": os.cpu_count() or 0, "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "booted": booted(_text("/proc/stat")), "virtual": virtual(), "python": sys.version.split()[0],
    }


def distribution(text: str) -> str:
    """PRETTY_NAME of an os-release file."""
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            return value.strip().strip("\"'")[:100]
    return ""


def booted(stat: str) -> int:
    for line in stat.splitlines():
        if line.startswith("btime "):
            return int(line.split()[1])
    return 0


def virtual() -> str:
    """`container`, a hypervisor's name, `vm` for an unknown one, or `none`."""
    if os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv") or _container():
        return "container"
    names = ("sys_vendor", "product_name", "bios_vendor")
    text = " ".join(_text(f"/sys/class/dmi/id/{name}") for name in names).lower()
    for word, name in VENDORS:
        if word in text:
            return name
    return "vm" if " hypervisor" in _text("/proc/cpuinfo", 65536) else "none"


def _container() -> bool:
    try:
        with open("/proc/1/environ", "rb") as f:
            return any(e.startswith(b"container=") for e in f.read(65536).split(b"\0"))
    except OSError:
        return False


def _text(path: str, most: int = 1024 * 1024) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read(most)
    except OSError:
        return ""
