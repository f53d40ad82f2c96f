from __future__ import annotations

from pathlib import Path

import pytest

from cockpit.inventory import systemd
from cockpit.inventory.build import Options, build
from cockpit.inventory.found import Found, Machine, Place
from cockpit.inventory.running import read_systemd
from cockpit.inventory.text import fresh
from cockpit.inventory.unit_text import seconds, split_words
from cockpit.model.load import load_text

DATA = Path(__file__).parent / "data" / "systemd"


class Written:
    """Answers in the form of systemctl 252."""

    title = ""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    async def run(self, argv: list[str]) -> tuple[int, str, str]:
        self.asked.append(argv)
        words = [w for w in argv[1:] if not w.startswith("--")]
        if words[:1] == ["list-units"]:
            return 0, (DATA / "list-units.txt").read_text(), ""
        if words[:1] == ["show"]:
            blocks = (DATA / "show.txt").read_text().split("\n\n")
            by_id = {b.partition("Id=")[2].partition("\n")[0]: b for b in blocks}
            missing = "Id={}\nLoadState=not-found\nActiveState=inactive"
            return 0, "\n\n".join(by_id.get(w, missing.format(w)) for w in words[1:]), ""
        if words[:1] == ["cat"]:
            path = DATA / f"{words[1]}.txt"
            return (0, path.read_text(), "") if path.exists() else (1, "", f"No files found for {words[1]}.")
        return 0, "systemd 252", ""

    async def hostname(self) -> str:
        return "box.example"


async def units(*names: str) -> Found:
    found = Found(title="systemd", machines=[Machine(name="box", place=Place("x"), address="10.0.0.1")])
    await read_systemd(Written(), "box", names, found)  # type: ignore[arg-type]
    return found


async def test_the_administrators_units() -> None:
    found = await units()
    by_name = {p.path[0]: p for p in found.programs}
    assert set(by_name) == {"app", "worker@blue"}
    app = by_name["app"].service
    assert app.processes["main"] == ("/opt/app/bin/serve", "--name", "two words", "--dir=/var/lib/app", "{{x}", "a;b")
    assert app.env == {"MODE": "prod", "GREETING": "hello world"}
    assert app.user == "app" and app.directory == "/opt/app"
    assert app.restart.mode == "on-failure" and (app.stop.signal, app.stop.grace) == ("INT", 90.0)
    assert app.limits.open_files == 65536 and app.limits.core == -1 and app.limits.processes is None
    assert app.check is not None and app.check.notify
    assert app.runtime is not None and app.runtime.systemd == "app.service"
    worker = by_name["worker@blue"].service
    assert worker.processes["main"] == ("/usr/bin/work", "blue", "box.example", "worker@blue.service")
    assert worker.restart.mode == "always" and worker.limits.open_files is None
    built = build(found, Options(), {})
    text = fresh(built, "systemd")
    loaded = load_text(text.encode()).expected
    assert loaded == built.expected and loaded.services["worker-blue"].instances.hosts == ("box",)
    assert "hunter2" not in text
    for word in ("APP_TOKEN was left out (a secret)",
                 "EnvironmentFile -/etc/default/app (/etc/systemd/system/app.service:7)",
                 "from /etc/systemd/system/app.service.d/more.conf:4", "ssh"):  # fmt: skip
        assert word in " ".join(text.replace("\n", " ").replace("#", " ").split()), word


async def test_units_by_name() -> None:
    found = await units("once", "gone.service", "app")
    assert [p.path for p in found.programs] == [("app",)]
    remarks = "\n".join(map(str, found.remarks))
    assert "once.service is left out: a oneshot runs and ends; once.timer starts it" in remarks
    assert "gone.service is left out: it is not-found" in remarks


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a b", ["a", "b"]), ("a 'b c' \"d e\"", ["a", "b c", "d e"]), (r"a\x20b \u00e9 \s", ["a b", "é", " "]),
        ("''", [""]), ("x'y z'", ["xy z"]),
    ],
)  # fmt: skip
def test_words(text: str, words: list[str]) -> None:
    assert split_words(text) == words


def test_words_that_do_not_end() -> None:
    with pytest.raises(ValueError, match="quote"):
        split_words("a 'b")


@pytest.mark.parametrize(
    ("text", "value"),
    [("1min 30s", 90.0), ("5s", 5.0), ("90", 90.0), ("infinity", None), ("1h 2min", 3720.0), ("500ms", 0.5)],
)
def test_time_spans(text: str, value: float | None) -> None:
    assert seconds(text) == value


def test_own_units_are_those_below_etc() -> None:
    shows = [{"Id": "a.service", "FragmentPath": "/etc/systemd/system/a.service"},
             {"Id": "b.service", "FragmentPath": "/lib/systemd/system/b.service"}]  # fmt: skip
    assert systemd.own_units(shows) == (["a.service"], ["b.service"])
