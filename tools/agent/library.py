"""Compile the standard library for the one-file agent: library.py FROM TO, by the interpreter it is for.

Only bytecode goes along (`os.pyc` where `os.py` would be), without docstrings: they would only take memory.
It is never checked against a source, so it does not depend on any time.
"""

import py_compile
import sys
from pathlib import Path

LEFT_OUT = {
    "test", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "ctypes", "curses", "dbm", "distutils",
    "msilib", "sqlite3", "pydoc_data", "venv", "wsgiref", "unittest", "site-packages", "__phello__", "__pycache__",
    "turtle.py", "antigravity.py", "this.py", "__hello__.py", "pydoc.py", "doctest.py", "_aix_support.py",
    "_osx_support.py", "_bootsubprocess.py", "_distutils_system_mod.py", "lzma.py", "bz2.py", "crypt.py",
    "nntplib.py",
}  # fmt: skip
CODECS = ("big5", "cp932", "cp949", "cp950", "euc_", "gb", "hz", "iso2022", "johab", "shift_jis", "mbcs", "oem")
"""Encodings whose tables are not built in."""


def main(source: Path, target: Path) -> None:
    (target / "lib-dynload").mkdir(parents=True)  # the interpreter looks for it to find the rest
    for path in sorted(source.rglob("*.py")):
        inner = path.relative_to(source)
        if LEFT_OUT & set(inner.parts) or inner.parts[0] == "encodings" and inner.name.startswith(CODECS):
            continue
        py_compile.compile(
            str(path), str(target / inner) + "c", f"<python>/{inner}", True, optimize=2,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
