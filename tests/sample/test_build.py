"""The sample's releases: reproducible, self-contained, told apart by data alone."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from cockpit.artifacts.opening import open_store
from cockpit.sample.build import PROGRAMS, VERSIONS, build, write


def test_every_version_is_built_and_again_is_the_same(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    records = build(open_store(tmp_path / "one"), work)
    assert [(r["name"], r["version"]) for r in records] == [
        ("web", "1.0.0"), ("web", "1.1.0"), ("sudoku", "1.0.0"), ("sudoku", "1.1.0"), ("sudoku", "1.2.0"),
    ]  # fmt: skip
    assert len({r["sha256"] for r in records}) == 5
    store = open_store(tmp_path / "two")
    again = build(store, work)
    assert [r["sha256"] for r in again] == [r["sha256"] for r in records]
    assert build(store, work) == again
    assert list(work.iterdir()) == []


def test_versions_differ_only_in_data(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    store = open_store(tmp_path / "store")
    content: dict[tuple[str, str], dict[str, bytes]] = {}
    for record in build(store, work):
        with store.pack(record["sha256"], record["layout"]) as pack:
            content[record["name"], record["version"]] = {
                e.path: b"".join(map(pack.chunk, e.extents)) for e in pack.manifest.entries
            }
    for (name, version), files in content.items():
        assert set(files) == {*PROGRAMS[name], "VERSION", "features.json"}
        assert files["VERSION"] == f"{version}\n".encode()
        first = content[name, "1.0.0"]
        assert {f for f in files if files[f] != first[f]} <= {"VERSION", "features.json"}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_release_imports_the_standard_library_and_itself(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, "1.0.0")
    own = {p.stem for p in tmp_path.glob("*.py")}
    for path in tmp_path.glob("*.py"):
        module = ast.parse(path.read_text(), feature_version=(3, 9))
        # what stands under `if __package__:` is for the tree, not for a release
        skipped = {
            n for node in ast.walk(module)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "__package__"
            for inner in node.body for n in ast.walk(inner)
        }  # fmt: skip
        wanted = {
            name.partition(".")[0]
            for node in ast.walk(module) if node not in skipped
            for name in (
                [a.name for a in node.names] if isinstance(node, ast.Import)
                else [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            )
        }  # fmt: skip
        assert wanted <= own | set(sys.stdlib_module_names), path.name


def test_versions_that_are_not_made() -> None:
    assert ("web", "1.2.0") not in VERSIONS
    with pytest.raises(KeyError):
        write(Path("/nonexistent"), "web", "1.2.0")
