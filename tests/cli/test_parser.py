"""The shape of the command line: every command, its help, its example."""

from __future__ import annotations

import argparse
import importlib
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest

from cockpit import __version__
from cockpit.act.table import VERBS
from cockpit.cli.main import FAMILIES, build_parser, main
from tests.cli.conftest import Run

PROMISED = [
    "demo", "run", "serve", "attach", "check", "schema", "plan", "status", "apply", "converge", "deploy", "restart",
    "stop", "start", "scale", "migrate", "drain", "push", "rollback", "adopt", "pause", "resume", "abort", "export",
    "log", "replay", "recover", "artifact", "agent", "relay",
]  # fmt: skip


def commands(
    parser: argparse.ArgumentParser, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Every command and sub-command with its parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield (*words, name), child
                yield from commands(child, (*words, name))


EVERY = dict(commands(build_parser()))


def test_the_promised_commands_are_there() -> None:
    top = [words[0] for words in EVERY if len(words) == 1]
    assert set(PROMISED) <= set(top)
    assert set(VERBS) <= set(top)
    assert {words[1] for words in EVERY if words[0] == "plan" and len(words) == 2} == set(VERBS)


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_help_has_an_example(words: tuple[str, ...], run: Run) -> None:
    code, out, err = run(*words, "--help")
    assert (code, err) == (0, "")
    flat = " ".join(out.split())
    assert f"Example: cockpit {' '.join(words)}" in flat
    assert flat.startswith(f"usage: cockpit {' '.join(words)}")


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_option_has_a_word_of_help(words: tuple[str, ...]) -> None:
    for action in EVERY[words]._actions:
        if isinstance(action, argparse._SubParsersAction):
            continue
        obvious = {"FILE", "DIR|FILE", "name", "version"} & {str(action.metavar), action.dest}
        assert action.help or obvious, f"{' '.join(words)}: {action.dest}"


@pytest.mark.parametrize("verb", VERBS.values(), ids=lambda v: v.name)
def test_examples_of_verbs_parse_as_they_stand(verb: object) -> None:
    from cockpit.act.table import Verb

    assert isinstance(verb, Verb)
    words = shlex.split(verb.example)
    args = build_parser().parse_args(words[1:])
    assert args.verb == verb.name
    if "--confirm" in words:
        del words[words.index("--confirm") :]
    args = build_parser().parse_args(["plan", *words[1:]])
    assert args.verb == verb.name


def test_no_command_at_all_shows_the_help(run: Run) -> None:
    code, out, err = run()
    assert (code, out) == (2, "")
    assert "usage: cockpit" in err
    for word in PROMISED:
        assert f"\n    {word} " in err
    assert "4 no answer" in err


@pytest.mark.parametrize(
    "words",
    [
        ["nothing"], ["status", "--nothing"], ["deploy"], ["deploy", "web"], ["scale", "web", "many"], ["plan"],
        ["artifact"], ["artifact", "add", "x"], ["replay"], ["replay", "x", "--twin", "--live"], ["check"],
    ],
    ids=" ".join,
)
def test_bad_words_exit_2(words: list[str], run: Run) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert "usage: cockpit" in err and "error: " in err


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"cockpit {__version__}\n", "")


def test_the_package_is_the_command() -> None:
    said = subprocess.run([sys.executable, "-m", "cockpit", "--version"], capture_output=True, text=True, timeout=60)
    assert (said.returncode, said.stdout) == (0, f"cockpit {__version__}\n")


def test_main_takes_its_words_from_the_process(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setattr("sys.argv", ["cockpit", "schema"])
    assert main() == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_known_by_its_commands(family: str) -> None:
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    importlib.import_module(f"cockpit.cli.{family}").add(subparsers)
    names = set(FAMILIES[family].split())
    assert names == set(subparsers.choices) or family == "verbs"


def test_one_command_is_built_without_the_others() -> None:
    only = [words[0] for words in dict(commands(build_parser("attach"))) if len(words) == 1]
    assert only == FAMILIES["serve"].split()
    assert dict(commands(build_parser("deploy"))).keys() == EVERY.keys()
    assert dict(commands(build_parser("nonsense"))).keys() == EVERY.keys()
