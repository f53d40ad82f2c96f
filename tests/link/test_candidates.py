"""Which link of a host serves, whatever is lost or comes twice. The live half is tests/agent/test_upgrade.py."""

from __future__ import annotations

from typing import Any

from cockpit.link import messages
from cockpit.link.candidates import Candidates
from cockpit.link.messages import AnyFrame, Eof, Event, Hello, Pong, Progress, Result, Unknown

H = "bj-1"
OK = messages.Tested(ok=True)
RESULT = Result(task="t", ok=True)
EVENT = Event(seq=1, event={})


class Link:
    def __init__(self, hello: Hello) -> None:
        self.host = H
        self.hello = hello
        self.sent: list[str] = []
        self.open = True

    def send(self, frame: dict[str, Any]) -> None:
        self.sent.append(frame["t"])

    def cut(self) -> None:
        self.open = False


class Hub:
    def __init__(self) -> None:
        self.candidates = Candidates(self)
        self.main: Link | None = None
        self.repeated = 0
        self.words = ""
        self.owner: list[AnyFrame] = []

    def serving(self, host: str) -> Link | None:
        return self.main

    def move(self, host: str, link: Any, hello: Any) -> None:
        self.main = link

    def repeat(self, host: str) -> None:
        self.repeated += 1

    def told(self, host: str, upgrading: str) -> None:
        self.words = upgrading

    def join(self, pid: int, role: str = "", replaces: int | None = None) -> Link:
        hello = Hello(host=H, uuid="u", agent_pid=pid, role=role, replaces=replaces)
        link = Link(hello)
        if self.candidates.admit(link, hello) == "":
            if self.main is not None:
                self.main.cut()
            self.main = link
        self.candidates.opened(link)
        return link

    def frame(self, link: Link, frame: AnyFrame) -> bool:
        return self.candidates.frame(link, frame)

    def gone(self, link: Link) -> str:
        role = self.candidates.closed(link)
        if self.main is link:
            self.main = None
        return role


def test_the_downlink_moves_once_the_candidate_is_tested() -> None:
    hub = Hub()
    old, new = hub.join(1), hub.join(2, "candidate", 1)
    assert hub.serving(H) is old and "candidate 2 is tested" in hub.candidates.words(H)
    assert not hub.frame(new, EVENT) and not hub.frame(new, Pong())
    assert not hub.frame(new, OK)
    assert hub.serving(H) is new and old.sent == ["retire"] and new.sent == ["serve"]
    assert hub.words == "upgrading: 1 ends its tasks"
    assert hub.frame(old, RESULT) and hub.frame(old, Progress(task="t")) and not hub.frame(old, EVENT)
    assert hub.frame(new, EVENT)
    assert not hub.frame(old, Eof()) and not old.open
    assert hub.gone(old) == "retired" and hub.repeated == 0 and hub.words == ""


def test_a_failed_test_moves_nothing() -> None:
    hub = Hub()
    old, new = hub.join(1), hub.join(2, "candidate", 1)
    hub.frame(new, messages.Tested(ok=False, text="no disk"))
    assert hub.serving(H) is old and not old.sent and "no disk" in hub.words
    assert hub.gone(new) == "candidate" and hub.words == ""


def test_a_candidate_of_somebody_else_is_cut() -> None:
    hub = Hub()
    old, new = hub.join(1), hub.join(2, "candidate", 77)
    hub.frame(new, OK)
    assert hub.serving(H) is old and not new.open and not old.sent


def test_the_old_one_killed_before_its_results_came() -> None:
    hub = Hub()
    old, new = hub.join(1), hub.join(2, "candidate", 1)
    hub.frame(new, OK)
    assert hub.gone(old) == "retired" and hub.repeated == 1 and hub.serving(H) is new


def test_retire_was_lost_with_the_link() -> None:
    hub = Hub()
    old, new = hub.join(1), hub.join(2, "candidate", 1)
    hub.frame(new, OK)
    hub.gone(old)
    again = hub.join(1)
    assert hub.serving(H) is again, "it says that it serves, and it knows"
    assert not new.open, "comes again as a candidate, or as the one that serves"
    hub.gone(new)
    new = hub.join(2, "candidate", 1)
    hub.frame(new, OK)
    assert again.sent == ["retire"] and hub.serving(H) is new


def test_after_a_restart_of_the_controller_in_the_middle() -> None:
    hub = Hub()
    new = hub.join(2, "candidate", 1)
    hub.frame(new, OK)
    assert hub.serving(H) is None and not new.sent
    old = hub.join(1)
    assert old.sent == ["retire"] and new.sent == ["serve"] and hub.serving(H) is new
    hub = Hub()
    old, new = hub.join(1, "retired"), hub.join(2, "candidate", 1)
    hub.frame(new, OK)
    assert new.sent == ["serve"] and hub.serving(H) is new and not old.sent
    hub = Hub()
    old, new = hub.join(1, "retired"), hub.join(2, "", 1)
    assert hub.serving(H) is new and hub.frame(old, RESULT)


def test_the_old_one_serves_after_all() -> None:
    hub = Hub()
    old, new = hub.join(1), hub.join(2, "candidate", 1)
    hub.frame(new, OK)
    assert not hub.frame(old, Unknown(t="serving"))
    assert hub.serving(H) is old and not new.open and hub.repeated == 1
    assert hub.frame(old, EVENT)


def test_a_host_that_connects_anew_cuts_only_itself() -> None:
    hub = Hub()
    first, second = hub.join(1), hub.join(1)
    assert not first.open and second.open and hub.serving(H) is second
    hub.gone(first)
    assert hub.serving(H) is second and hub.frame(second, EVENT)
    hub.gone(second)
    assert hub.candidates.words(H) == "" and not hub.candidates._links
