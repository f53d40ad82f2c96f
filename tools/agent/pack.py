"""Make dist/cockpit-agent.pyz and dist/cockpit-agent from what is installed here and the built interpreter.

    python -m tools.agent.pack BUILD DIST
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from cockpit.bundle import onefile, pyz
from cockpit.bundle.collect import BundleError

HERE = Path(__file__).parent
GLIBC = re.compile(rb"\bGLIBC_(\d+(?:\.\d+)+)\b")


def main(build: Path, dist: Path) -> int:
    dist.mkdir(exist_ok=True)
    try:
        contents = pyz.make(dist / "cockpit-agent.pyz")
    except BundleError as e:
        sys.stderr.write(f"cockpit-agent.pyz cannot be made: {e}\n")
        return 1
    files = whole(build / "runtime", contents.files)
    stub = (build / "stub").read_bytes()
    made = onefile.assemble(stub, files)
    pyz.write(dist / "cockpit-agent", made.data, 0o755)
    holds = ", ".join(f"{name} {version}" for name, version in contents.holds.items())
    say(dist / "cockpit-agent.pyz", f"for Python 3.9 and newer; holds {holds}")
    needed = max((v for data in (stub, *(d for _, d in files.values())) for v in glibc(data)), default=None)
    text = ".".join(map(str, needed)) if needed else "none, everything in it is static"
    unpacked = f"{made.unpacked >> 20} MiB in a directory {made.digest}"
    say(dist / "cockpit-agent", f"highest GLIBC needed: {text}; {unpacked}")
    sys.stdout.write("  of " + ", ".join((build / "versions").read_text().splitlines()) + "\n")
    return 0


def whole(runtime: Path, app: dict[str, bytes]) -> dict[str, tuple[int, bytes]]:
    """The interpreter and the agent, compiled by it."""
    files = {p.relative_to(runtime).as_posix(): (p.stat().st_mode & 0o700, p.read_bytes()) for p in walk(runtime)}
    files["lib/python3.11/lib-dynload/"] = (0o700, b"")
    with tempfile.TemporaryDirectory() as place:
        for name, data in app.items():
            path = Path(place, "app", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        argv = [runtime / "bin/python3", "-I", "-S", HERE / "compile.py", Path(place, "app")]
        subprocess.run(argv, check=True)
        files.update({p.relative_to(place).as_posix(): (0o600, p.read_bytes()) for p in walk(Path(place))})
    return files


def glibc(data: bytes) -> list[tuple[int, ...]]:
    """Versions of the C library that a program or library asks for."""
    if not data.startswith(b"\x7fELF"):
        return []
    return [tuple(map(int, found.decode().split("."))) for found in GLIBC.findall(data)]


def walk(top: Path) -> list[Path]:
    return sorted(p for p in top.rglob("*") if p.is_file())


def say(path: Path, text: str) -> None:
    data = path.read_bytes()
    sys.stdout.write(f"{path}: {len(data) / (1 << 20):.1f} MiB, sha256 {sha256(data).hexdigest()}\n  {text}\n")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
