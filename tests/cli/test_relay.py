"""`cockpit relay`: what it refuses before it becomes the relay."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from cockpit.link.pki import Authority
from tests.cli.conftest import Run


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The directory of a relay that has joined."""
    Authority.create(tmp_path / "ca", "shop").issue_local_relay(tmp_path / "r", "relay-sh", str(uuid.uuid4()), [])
    return tmp_path / "r"


def test_without_an_identity(run: Run, tmp_path: Path) -> None:
    code, out, err = run("relay", "--dir", tmp_path / "r")
    assert (code, out) == (2, "")
    assert f"{tmp_path / 'r'} has no identity: give --controller URL and --join TOKEN once" in err


def test_a_token_that_is_none(run: Run, tmp_path: Path) -> None:
    code, _, err = run("relay", "--dir", tmp_path / "r", "--join", "hello", "--controller", "https://127.0.0.1:1")
    assert code == 2 and "not a join token" in err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "say where the relay listens: --address IP"),
        (("--address", "127.0.0.1"), r"say whom the relay asks: --upstream [RELAY@]HOST:PORT"),
        (("--address", "127.0.0.1", "--upstream", "relay-a"), "'relay-a' is no upstream; [RELAY@]HOST"),
        (("--address", "127.0.0.1", "--upstream", "a@b:0"), "'a@b:0' is no upstream"),
        (("--cache", "much"), '"MUCH" is not a size'),
        (("--rate", "1X"), '"1X" is not a size'),
        (("--port", "70000", "--address", "127.0.0.1", "--upstream", "h:1"), "70000 is not a port number"),
    ],
)
def test_options_that_do_not_do(run: Run, place: Path, options: tuple[str, ...], says: str) -> None:
    code, _, err = run("relay", "--dir", place, *options)
    assert code == 2 and says in err, err
    assert not (place / "relay.json").exists()


@pytest.mark.parametrize(
    ("doc", "says"),
    [
        ("[]", "a JSON object"), ("{", "relay.json"), ('{"upstream":1}', "a JSON object"),
        ('{"port":"7"}', "port: '7' is not a number"), ('{"cache":-1}', "cache: -1"), ('{"address":5}', "address:"),
    ],
)
def test_damaged_settings(run: Run, place: Path, doc: str, says: str) -> None:
    (place / "relay.json").write_text(doc)
    code, _, err = run("relay", "--dir", place)
    assert code == 2 and says in err and "relay.json" in err, err


def test_a_damaged_identity(run: Run, place: Path) -> None:
    (place / "identity" / "key.pem").unlink()
    code, _, err = run("relay", "--dir", place)
    assert code == 2 and "is damaged (key.pem); remove it and join again" in err


def test_settings_are_what_was_told_and_what_was_given(tmp_path: Path) -> None:
    from cockpit.swarm.settings import Settings

    told = {"region": "sh", "address": "10.0.0.2", "port": 7411, "upstream": {"address": "10.0.0.1", "port": 1}}
    (tmp_path / "relay.json").write_text(json.dumps(told))
    known = Settings.load(str(tmp_path))
    assert known.cache == 20 * 1024**3 and known.upstream == ""
    merged = known.merged({"upstream": "relay-a@[::1]:99", "port": None, "rate": 5})
    assert merged.complete() == known._replace(
        upstream="relay-a", upstream_address="::1", upstream_port=99, rate=5
    )
    assert Settings.of(merged.doc()) == merged
    assert Settings.load(str(tmp_path / "none")) == Settings()
