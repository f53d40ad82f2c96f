"""Compile the agent's own modules beside their sources: compile.py DIRECTORY, by the interpreter they are for.

The sources stay: a traceback shows their lines. The bytecode is never checked against them, so that nothing is
ever written into an unpacked directory.
"""

import py_compile
import sys
from pathlib import Path


def main(root: Path) -> None:
    for path in sorted(root.rglob("*.py")):
        py_compile.compile(
            str(path), dfile=f"<cockpit>/{path.relative_to(root)}", doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
