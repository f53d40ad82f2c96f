"""The operator's own editor on a file of ours, and a place for text that must not be lost."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from cockpit.homes import screens_home
from cockpit.plan.steps import Bad, Refused
from cockpit.programs import preferred

MOST = 4 * 1024 * 1024
FALLBACKS = ("sensible-editor", "nano", "vim", "vi")


def editor(environ: Mapping[str, str]) -> list[str]:
    """Its argv, by $VISUAL, $EDITOR, or what there is; never through a shell. Raises Bad."""
    if argv := preferred(environ, ("VISUAL", "EDITOR"), FALLBACKS):
        return argv
    raise Bad("no editor: set VISUAL or EDITOR to one")


class Draft:
    """A private file for one edit; `close` takes it away."""

    def __init__(self, name: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="cockpit-edit-"))  # 0700
        self.stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", name) or "node"
        self.path = self.directory / f"{self.stem}.yaml"

    def open(self, argv: list[str], text: str) -> str:
        """Show the text, wait until the editor ends, return what it left. Raises Refused when it failed."""
        self.path.write_text(text, encoding="utf-8")
        try:
            code = subprocess.run([*argv, str(self.path)], check=False).returncode
        except OSError as e:
            raise Refused(f"{argv[0]} does not start: {e.strerror}") from None
        if code:
            raise Refused(f"{argv[0]} ended with exit {code}: nothing was changed")
        try:
            if self.path.stat().st_size > MOST:
                raise Refused(f"what was saved is larger than {MOST // 1024 // 1024} MiB")
            return self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError:
            raise Refused("what was saved is not UTF-8") from None

    def keep(self, text: str, home: Path) -> Path:
        """The text in a file of its own below HOME (made, 0700), which stays. Raises OSError."""
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        stamp = time.strftime("%Y%m%d-%H%M%S")
        for n in range(1000):
            path = home / f"{self.stem}-{stamp}{f'-{n}' if n else ''}.yaml"
            try:
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                continue
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                file.write(text)
            return path
        raise FileExistsError(17, "too many files of this second", str(home))

    def close(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)


def keeping_place(environ: Mapping[str, str]) -> Path:
    """Where texts that were not carried out are kept."""
    return screens_home(environ) / "edits"
