"""Which files a bundle holds: what cockpit.agent and cockpit.swarm import, and nothing else.

Imports are followed in the source, so that a new shared module comes along by itself, and one that a host could
not import is refused here, when the bundle is made, instead of on a host.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import cockpit

OURS = ("cockpit.agent", "cockpit.swarm")
"""Whole packages: their modules are started by name, and plug-ins import them."""
MAY_HOLD = ("websockets", "h2", "hpack", "hyperframe")
"""Pure Python, or with compiled parts that it can do without."""
LEFT_OUT: dict[str, tuple[str, ...]] = {
    "websockets": ("legacy/", "sync/", "trio/", "asyncio/router.py", "auth.py", "cli.py", "http.py", "__main__.py"),
}
"""What they have and we do not use; names begin so."""
OLDEST = (3, 9)
Version = tuple[int, int]


class BundleError(Exception):
    """Why no bundle can be made from what is installed here, as a sentence for the operator."""


@dataclass(frozen=True)
class Contents:
    """What goes into a bundle."""

    files: dict[str, bytes]
    """By name in the bundle, sorted; `__main__.py` and `bundle.json` included."""
    version: str
    digest: str
    """32 hex digits over names and contents of all files but `bundle.json`."""
    holds: dict[str, str] = field(default_factory=dict)
    """Distributions and their versions."""


START = '''\
"""Starts the bundle."""

import sys

if sys.version_info < {needs}:
    sys.stderr.write("cockpit-agent: it needs Python {text} or newer; %s is %d.%d\\n" % (
        (sys.executable,) + tuple(sys.version_info[:2])))
    sys.exit(126)

from cockpit.agent.bundled import main

sys.exit(main())
'''


def collect(python: Version = OLDEST) -> Contents:
    """Everything for hosts with this Python or a newer one. Raises BundleError."""
    files = {name: path.read_bytes() for name, path in _ours().items()}
    needed = _outside({n: data for n, data in files.items() if n.endswith(".py")})
    holds: dict[str, str] = {}
    while needed:
        name = min(needed)
        needed.discard(name)
        if name in holds:
            continue
        found, holds[name] = _distribution(name, python)
        files.update(found)
        needed |= _outside({n: data for n, data in found.items() if n.endswith(".py")}) - set(holds)
    licence = Path(cockpit.__file__).parents[1] / "LICENSE"
    if licence.is_file():
        files["licenses/cockpit"] = licence.read_bytes()
    text = ".".join(map(str, python))
    files["__main__.py"] = START.format(needs=python, text=text).encode()
    digest = sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
    short = digest.hexdigest()[:32]
    mark = {"version": cockpit.__version__, "digest": short, "python": list(python), "holds": holds}
    files["bundle.json"] = json.dumps(mark, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    return Contents(dict(sorted(files.items())), cockpit.__version__, short, dict(sorted(holds.items())))


def _ours() -> dict[str, Path]:
    """Our modules by name in the bundle."""
    top = Path(cockpit.__file__).parent
    found: dict[str, Path] = {}
    todo = [p for package in OURS for p in sorted((top.parent / package.replace(".", "/")).rglob("*.py"))]
    todo.append(top / "__init__.py")
    while todo:
        path = todo.pop()
        name = path.relative_to(top.parent).as_posix()
        if name in found:
            continue
        found[name] = path
        for module, _, _ in imports(path.read_bytes(), name):
            if module.partition(".")[0] == "cockpit":
                todo += _files_of(top.parent, module)
    plugins = sorted((top / "agent" / "shipped").glob("*/plugin.json"))
    return found | {p.relative_to(top.parent).as_posix(): p for p in plugins}


def _files_of(base: Path, module: str) -> Iterator[Path]:
    """The files of a dotted name, its packages' as well; `a.b.c` may be a name in module `a.b`."""
    parts = module.split(".")
    for n in range(1, len(parts) + 1):
        place = base.joinpath(*parts[:n])
        if place.is_dir():
            yield place / "__init__.py"
        elif place.with_suffix(".py").is_file():
            yield place.with_suffix(".py")


def _outside(files: dict[str, bytes]) -> set[str]:
    """Names of distributions that these modules cannot do without. Raises BundleError."""
    siblings = {name.partition("/")[0].removesuffix(".py") for name in files}
    found = set()
    for name, data in files.items():
        # the keeper is a directory of its own: its modules import one another
        beside = {Path(n).stem for n in files if Path(n).parent == Path(name).parent}
        for module, line, optional in imports(data, name):
            top = module.partition(".")[0]
            if top in sys.stdlib_module_names or top in siblings or top in beside:
                continue
            if optional and not (top in MAY_HOLD and name.startswith("cockpit/")):
                continue  # ours may import late what they cannot do without
            if top not in MAY_HOLD:
                raise BundleError(f"{name}:{line} imports {top}, which hosts do not have")
            found.add(top)
    return found


def imports(source: bytes, name: str) -> Iterator[tuple[str, int, bool]]:
    """(absolute dotted name, line, may be missing) of the imports in a module at this path.

    May be missing: inside of a function or a `try`. What only a type checker sees is left out.
    """
    package = name.removesuffix(".py").split("/")[:-1]
    yield from _imports(ast.parse(source, name), package, False)


def _imports(node: ast.AST, package: list[str], optional: bool) -> Iterator[tuple[str, int, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield alias.name, child.lineno, optional
        elif isinstance(child, ast.ImportFrom):
            base = package[: len(package) - child.level + 1] if child.level else []
            base = [*base, *(child.module or "").split(".")] if child.module else base
            for alias in child.names:
                yield ".".join([*base, alias.name]), child.lineno, optional
        else:
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.Try))
            yield from _imports(child, package, optional or inside)


def _distribution(name: str, python: Version) -> tuple[dict[str, bytes], str]:
    """Its pure modules and licences, and its version. Raises BundleError."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise BundleError(f"{name} is not installed here; install it beside Cockpit")
    try:
        meta = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise BundleError(f"{name} is here, but not as an installed package: its version is unknown") from None
    asked = re.search(r">=\s*(\d+)\.(\d+)", meta.metadata["Requires-Python"] or "")
    if asked and (int(asked[1]), int(asked[2])) > python:
        text = ".".join(map(str, python))
        raise BundleError(
            f"{name} {meta.version} needs Python {asked[1]}.{asked[2]}, and the bundle is to run on {text}: install "
            f"an older {name} beside Cockpit, or make one for newer hosts with --python {asked[1]}.{asked[2]}"
        )
    top = Path(spec.submodule_search_locations[0])
    files = {}
    for path in sorted(top.rglob("*.py")):
        inner = path.relative_to(top).as_posix()
        if not inner.startswith(LEFT_OUT.get(name, ())):
            files[f"{name}/{inner}"] = path.read_bytes()
    for file in meta.files or []:
        if ".dist-info" in file.parts[0] and re.match(r"(LICEN[CS]E|COPYING|NOTICE)", file.name):
            files[f"licenses/{name}"] = Path(str(file.locate())).read_bytes()
    return files, meta.version
