"""Recipes: what they may say, where each fault stands, and which files they stand for."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from cockpit.artifacts import recipe as module
from cockpit.artifacts.building import InputError, pack_inputs
from cockpit.artifacts.recipe import Recipe, load_recipe
from cockpit.model.problems import BadTopology

GOOD = """\
argv: [make, dist]
inputs: [Makefile, src, "include/**/*.h"]
outputs: [dist]
host: b-1
env: {CFLAGS: -O2, N: 1}
timeout: 90s
platform: linux-x86_64
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("Makefile", "src/a.c", "src/deep/b.c", "include/a.h", "include/deep/b.h", "include/no.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "src/a.c").chmod(0o755)
    return tmp_path


def write(home: Path, text: str) -> Path:
    path = home / "recipe.yaml"
    path.write_text(text)
    return path


def test_a_whole_recipe(home: Path) -> None:
    loaded = load_recipe(write(home, GOOD))
    assert loaded.recipe == Recipe(
        argv=("make", "dist"), inputs=("Makefile", "src", "include/**/*.h"), outputs=("dist",), host="b-1",
        env={"CFLAGS": "-O2", "N": "1"}, timeout=90.0, platform="linux-x86_64",
    )  # fmt: skip
    assert list(loaded.files) == [
        "Makefile", "include/a.h", "include/deep/b.h", "src", "src/a.c", "src/deep", "src/deep/b.c",
    ]  # fmt: skip


def test_what_may_be_left_out(home: Path) -> None:
    loaded = load_recipe(write(home, "argv: [make]\noutputs: [./a/]\n"))
    assert loaded.recipe == Recipe(argv=("make",), outputs=("a",))
    assert (loaded.recipe.timeout, loaded.recipe.platform, loaded.files) == (600.0, "any", {})


def test_everything_but_the_recipe_directory_itself(home: Path) -> None:
    files = load_recipe(write(home, "argv: [x]\ninputs: [.]\noutputs: [.]\n")).files
    assert "." not in files
    assert {"recipe.yaml", "Makefile", "include/no.txt"} <= set(files)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "1:1: the file is empty"),
        ("outputs: [a]\n", '1:1: a recipe needs "argv"'),
        ("argv: [a]\n", '1:1: a recipe needs "outputs"'),
        ("argv: make dist\noutputs: [a]\n", "1:7: expected a list of words such as .*, found the text"),
        ("argv: []\noutputs: [a]\n", "1:7: "),
        ("argv: [a]\noutputs: [a]\ntimeout: soon\n", "3:10: .*not a duration"),
        ("argv: [a]\noutputs: [a]\ntimeout: 25h\n", "3:10: 25h is not a time between 100ms and 24h"),
        ("argv: [a]\noutputs: [/a]\n", '2:11: "/a" is absolute'),
        ("argv: [a]\noutputs: [a/../../b]\n", '2:11: "a/../../b" leaves the directory'),
        ("argv: [a]\ninputs:\n  - src\n  - ../x\noutputs: [a]\n", '4:5: "../x" leaves the directory'),
        ("argv: [a]\ninputs: [Makefil]\noutputs: [a]\n", r'2:10: "Makefil" matches .*\(did you mean "Makefile"'),
        ("argv: [a]\ninputs: [src, '*.go']\noutputs: [a]\n", r'2:15: "\*\.go" matches nothing'),
        ("command: [a]\noutputs: [a]\n", r'1:1: unknown key "command" .*\(did you mean "argv"'),
        ("argv: [a]\noutput: [a]\n", r'2:1: unknown key "output" .*\(did you mean "outputs"'),
        ("argv: [a]\noutputs: [a]\nversion: 1\n", "3:1: the version is given to the command"),
        ("argv: [a]\noutputs: [a]\nenv: {A B: 1}\n", "3:7: .*not the name of an environment variable"),
        ("argv: [a]\noutputs: [a]\nplatform: a/b\n", "3:11: .*not the name of a platform"),
        ("argv: [a\n", "not valid YAML"),
    ],
)
def test_faults_have_their_place(home: Path, text: str, says: str) -> None:
    path = write(home, text)
    with pytest.raises(BadTopology, match=says) as e:
        load_recipe(path)
    assert str(e.value).startswith(f"{path}:")


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadTopology, match="No such file"):
        load_recipe(tmp_path / "none.yaml")


def test_links(home: Path) -> None:
    (home / "src/same.c").symlink_to("a.c")
    assert load_recipe(write(home, GOOD)).files["src/same.c"].read_text() == "src/a.c"
    cases = {"/etc/passwd": "that leaves the directory", "nowhere": "that leads nowhere", "deep": "to a directory"}
    for target, says in cases.items():
        (home / "src/x").symlink_to(target)
        with pytest.raises(BadTopology, match=f"2:20: src/x: a link {says}"):
            load_recipe(write(home, GOOD))
        (home / "src/x").unlink()


def test_too_many(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_INPUTS", 3)
    with pytest.raises(BadTopology, match="2:20: more than 3 inputs"):
        load_recipe(write(home, GOOD))


def test_the_same_content_packs_to_the_same_bytes(home: Path, tmp_path: Path) -> None:
    files = load_recipe(write(home, GOOD)).files
    first = pack_inputs(files, tmp_path / "1")
    for path in home.rglob("*"):
        path.touch()
    (home / "Makefile").chmod(0o600)
    assert pack_inputs(load_recipe(home / "recipe.yaml").files, tmp_path / "2") == first
    (home / "Makefile").write_text("other")
    assert pack_inputs(files, tmp_path / "3")[0] != first[0]
    with tarfile.open(tmp_path / "1") as tar:
        members = {m.name: m for m in tar}
        assert [m.name for m in members.values()] == list(files)
        assert (members["src/a.c"].mode, members["Makefile"].mode, members["src"].mode) == (0o755, 0o644, 0o755)
        assert {(m.uid, m.gid, m.mtime, m.uname) for m in members.values()} == {(0, 0, 0, "")}


def test_inputs_that_are_too_large(home: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"include/deep/b\.h: the inputs are larger than 20 bytes"):
        pack_inputs(load_recipe(write(home, GOOD)).files, tmp_path / "1", limit=20)
