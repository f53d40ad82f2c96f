"""Which characters a locale allows, also where Python says UTF-8 in the C locale."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cockpit.locales import charset

SAY = "import os, sys; from cockpit.locales import charset; print(charset(os.environ, sys.__stdout__.encoding))"


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({}, "utf-8"), ({"LANG": "C"}, "ascii"), ({"LANG": "POSIX"}, "ascii"), ({"LANG": "C.UTF-8"}, "UTF-8"),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "C"}, "ascii"), ({"LC_ALL": "C.UTF-8", "LANG": "C"}, "UTF-8"),
        ({"LANG": "de_DE.ISO-8859-1"}, "ISO-8859-1"), ({"LANG": "de_DE"}, "utf-8"),
        ({"LANG": "C", "LC_CTYPE": "en_US.UTF-8"}, "UTF-8"), ({"LANG": "zh_CN.UTF-8@x"}, "UTF-8"),
        ({"LANG": "en_US.UTF-8", "LC_CTYPE": "POSIX"}, "ascii"), ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, "ascii"),
        ({"LC_CTYPE": "C.UTF-8"}, "utf-8"),
    ],
)  # fmt: skip
def test_what_the_environment_says(environ: dict[str, str], named: str) -> None:
    assert charset(environ, "utf-8", lambda: "") == named


def test_who_set_lc_ctype_is_believed() -> None:
    environ = {"LANG": "C", "LC_CTYPE": "C.UTF-8"}
    assert charset(environ, "utf-8", lambda: "C.UTF-8") == "UTF-8"
    assert charset(environ, "utf-8", lambda: None) == "UTF-8"


@pytest.mark.parametrize(
    ("environ", "narrow"),
    [
        ({"LANG": "C"}, True), ({"LC_ALL": "C"}, True), ({"LC_ALL": "POSIX"}, True), ({"LANG": "C.UTF-8"}, False),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, False), ({}, False),
    ],
)  # fmt: skip
def test_a_real_program_in_that_locale(environ: dict[str, str], narrow: bool) -> None:
    """Python sets LC_CTYPE by itself before the program runs."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("LC_") and k not in ("LANG", "LANGUAGE")}
    clean = {k: v for k, v in clean.items() if not k.startswith("PYTHON")}
    argv = [sys.executable, "-c", SAY]
    done = subprocess.run(argv, env=clean | environ, capture_output=True, text=True, check=True)
    assert ("utf" not in done.stdout.lower()) is narrow, done.stdout
