"""Build recipes: what to run, from which files, and what it makes. Read like the topology file.

    argv: [make, dist]
    inputs: [Makefile, src, "include/**/*.h"]      # below the recipe's directory
    outputs: [dist]                                # one directory: its content is the artifact
    host: b-1                                      # where; --host goes before
    env: {CFLAGS: -O2}
    timeout: 10m
    platform: any
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from cockpit.model import units
from cockpit.model.kinds import BAD, Field, ListOf, MapOf, Object, Scalar, text
from cockpit.model.nodes import MOST_BYTES, compose, text_of
from cockpit.model.problems import BadTopology, Problem, Report, Wrong
from cockpit.model.scalars import ARGV, HOST, VARIABLE, WORDS

MAX_INPUTS = 100_000
LONGEST = 24 * 3600.0
SHORTEST = 0.1


class Recipe(msgspec.Struct, frozen=True):
    argv: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    """Paths and globs relative to the recipe; a directory stands for all that is in it."""
    outputs: tuple[str, ...] = ()
    """Paths that exist after the run. One directory: its content is the artifact; else all as they are named."""
    host: str = ""
    env: dict[str, str] = {}
    timeout: float = 600.0
    """Seconds the program may run."""
    platform: str = "any"


class Loaded(msgspec.Struct, frozen=True):
    recipe: Recipe
    files: dict[str, Path]
    """Path in the build -> file or directory to send, sorted; parents come first."""


def _timeout(written: str) -> float:
    value = units.parse_duration(written)
    if not SHORTEST <= value <= LONGEST:
        raise Wrong(f"{written} is not a time between 100ms and 24h")
    return value


def _path(written: str) -> str:
    """A path that stays below where it begins, in its plain form; `.` is all of it."""
    parts = [p for p in written.split("/") if p not in ("", ".")]
    if written.startswith("/"):
        raise Wrong(f'"{written[:60]}" is absolute; name it relative to the recipe')
    if ".." in parts:
        raise Wrong(f'"{written[:60]}" leaves the directory of the recipe')
    if not written or "\0" in written or len(written) > 1000:
        raise Wrong("expected a path")
    return "/".join(parts) or "."


TIMEOUT = Scalar(
    "a duration such as 90s, 10m, 1h", {"type": "string", "pattern": units.DURATION}, types=("str", "int", "float"),
    parse=_timeout, show=units.format_duration,
)  # fmt: skip
PATH = Scalar("a relative path", {"type": "string"}, parse=_path)
PLATFORM = text("the name of a platform such as any or linux-x86_64", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,127}$")

RECIPE = Object(
    Recipe, "a recipe",
    (
        Field("argv", ARGV, "What to run, as a list of words; no shell reads it.", fill=()),
        Field("inputs", ListOf(PATH, "a list of paths", unique=True), "Files that are sent to the build host."),
        Field("outputs", ListOf(PATH, "a list of paths", least=1, unique=True), "What the run makes.", fill=()),
        Field("host", HOST, "The host to build on."),
        Field("env", MapOf(VARIABLE, WORDS, "variables"), "Environment of the run."),
        Field("timeout", TIMEOUT, "The run is ended after this time.", default="10m"),
        Field("platform", PLATFORM, "What the result runs on.", default="any"),
    ),
    instead={
        "command": "argv", "cmd": "argv", "run": "argv", "script": "argv", "environment": "env", "files": "inputs",
        "sources": "inputs", "artifacts": "outputs", "output": "outputs", "input": "inputs",
    },
    refused={
        "name": "the name is given to the command: --name NAME",
        "version": "the version is given to the command: --version VERSION",
    },
)  # fmt: skip


def load_recipe(path: Path) -> Loaded:
    """Raises BadTopology: every problem with file, line and column, unknown inputs among them."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except OSError as e:
        raise BadTopology([Problem(str(path), 0, 0, "", e.strerror or str(e))]) from None
    to = Report(str(path))
    root = compose(text_of(data, str(path)), str(path))
    recipe = RECIPE.read(root, (), to)
    files: dict[str, Path] = {}
    if recipe is not BAD:
        below = path.absolute().parent
        for n, pattern in enumerate(recipe.inputs):
            _take(pattern, below, files, to, ("inputs", str(n)))
    if to.problems or recipe is BAD:
        raise BadTopology(to.problems)
    return Loaded(recipe, {name: files[name] for name in sorted(files, key=lambda n: n.split("/"))})


def _take(pattern: str, below: Path, files: dict[str, Path], to: Report, at: tuple[str, ...]) -> None:
    """Adds what one line of `inputs` stands for."""
    found = False
    for path in _matches(pattern, below):
        found = True
        for name, each in _with_all_inside(path, below):
            if not (wrong := _wrong(each, below)):
                files[name] = each
            else:
                to.problem(at, f"{name}: {wrong}")
                return
            if len(files) > MAX_INPUTS:
                to.problem(at, f"more than {MAX_INPUTS} inputs")
                return
    if not found:
        near = to.near(pattern, _neighbours(pattern, below))
        to.problem(at, f'"{pattern[:60]}" matches nothing below {below}', near)


def _matches(pattern: str, below: Path) -> list[Path]:
    if not re.search(r"[*?\[]", pattern):
        path = below / pattern
        return [path] if os.path.lexists(path) else []
    return sorted(below.glob(pattern))


def _with_all_inside(path: Path, below: Path) -> list[tuple[str, Path]]:
    """The path, and everything in it when it is a directory; links are not followed."""
    found = [] if path == below else [(path.relative_to(below).as_posix(), path)]
    if path.is_dir() and not path.is_symlink():
        for directory, names, plain in os.walk(path):
            for name in sorted([*names, *plain]):
                each = Path(directory, name)
                found.append((each.relative_to(below).as_posix(), each))
    return found


def _wrong(path: Path, below: Path) -> str:
    """Why it cannot be sent; empty when it can. A link to a file inside is sent as that file."""
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return "a link that leads nowhere"
    if not real.is_relative_to(below.resolve()):
        return f"a link that leaves the directory of the recipe, to {real}"
    if path.is_symlink() and real.is_dir():
        return f"a link to a directory; name {real.relative_to(below.resolve())} instead"
    return "" if real.is_dir() or real.is_file() else "neither a file nor a directory"


def _neighbours(pattern: str, below: Path) -> list[str]:
    """Names beside what was not found, for a hint."""
    parent = Path(pattern).parent
    try:
        return sorted((parent / each.name).as_posix() for each in (below / parent).iterdir())[:1000]
    except OSError:
        return []
