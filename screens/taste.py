"""What one person likes, on every cluster: theme, language, whether the tour was offered. A file of mode 0600."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

MOST = 1 << 16


class Liking(msgspec.Struct, frozen=True, omit_defaults=True):
    theme: str = ""
    language: str = ""
    toured: bool = False


class Taste:
    """`base` None: nothing is read and nothing is written."""

    def __init__(self, base: Path | None = None) -> None:
        self._path = base / "taste.json" if base is not None else None
        self.complaints: list[str] = []
        """What could not be read or written, for the operator; emptied by whoever shows it."""
        self.likes = self._read()

    @property
    def kept(self) -> bool:
        """Is anything kept for next time?"""
        return self._path is not None

    def like(self, *, theme: str | None = None, language: str | None = None, toured: bool | None = None) -> None:
        """Keep what is given, from now on."""
        old = self.likes
        new = Liking(
            old.theme if theme is None else theme, old.language if language is None else language,
            old.toured if toured is None else toured,
        )  # fmt: skip
        if new != old:
            self.likes = new
            self._write()

    def _read(self) -> Liking:
        if self._path is None:
            return Liking()
        try:
            with self._path.open("rb") as file:
                data = file.read(MOST + 1)
            if len(data) > MOST:
                raise ValueError("it is larger than anything the screens write")
            return msgspec.json.decode(data, type=Liking)
        except FileNotFoundError:
            return Liking()
        except (OSError, ValueError, msgspec.DecodeError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self.complaints.append(f"{self._path} cannot be used ({why}): it is left out and written anew")
            return Liking()

    def _write(self) -> None:
        if self._path is None:
            return
        new = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(mode=0o710, parents=True, exist_ok=True)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(self.likes))
            new.replace(self._path)
        except OSError as error:
            self.complaints.append(
                f"{self._path} cannot be written ({error.strerror or error}): nothing is kept for next time"
            )
