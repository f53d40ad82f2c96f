"""Programs that a person prefers, by the variables of the environment. Never through a shell."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence

from cockpit.plan.steps import Bad


def preferred(environ: Mapping[str, str], variables: Sequence[str], fallbacks: Sequence[str]) -> list[str]:
    """The argv of the first variable that says one, else the first fallback that is there; empty: none is.

    Raises Bad for a variable that names no program.
    """
    path = environ.get("PATH")
    for name in variables:
        said = environ.get(name, "").strip()
        if not said:
            continue
        try:
            argv = shlex.split(said)
        except ValueError as e:
            raise Bad(f"${name} cannot be read as a command ({e}): {said}") from None
        if not shutil.which(argv[0], path=path):
            raise Bad(f"${name} names {argv[0]!r}, and there is no such program")
        return argv
    return next(([name] for name in fallbacks if shutil.which(name, path=path)), [])
