"""What is well now and was not within the last day."""

from __future__ import annotations

from cockpit.explain.lately import DAY, SHOWN, lately
from cockpit.model.view import FAILED
from cockpit.model.why_rows import Moment

NOW = 1_800_000_000.0


def moment(ago: float, kind: str, text: str, mark: str = "ok") -> Moment:
    return Moment(at=NOW - ago, kind=kind, kinds=("instance", "shop.web/0"), text=text, mark=mark)


def told(moments: list[Moment]) -> tuple[str, tuple[Moment, ...]]:
    return lately("web/0", "running", sorted(moments, key=lambda m: m.at), NOW, lambda at: f"{NOW - at:.0f} s ago")


def loop(times: int, first: float = 600.0) -> list[Moment]:
    out = []
    for n in range(times):
        out.append(moment(first - 10 * n, "run", f"run {n + 1} ended: exit 1 after 0.8 s", FAILED))
        out.append(moment(first - 10 * n - 1, "run", f"run {n + 2} of 1.2.0 started on sh-1, pid 7"))
    return out


def test_nothing_went_wrong() -> None:
    assert told([]) == ("", ())
    well = moment(5, "run", "run 1 of 1.0 started on a")
    assert told([well, moment(9, "action", "#3 deploy began, by li")]) == ("", ())
    meant = [moment(50, "action", "#3 deploy began, by li"), moment(40, "action", "#3 deploy done"),
             moment(45, "run", "run 1 ended: SIGTERM", "drift")]
    assert told(meant) == ("", ()), "an action ended it"
    assert told([moment(DAY + 60, "run", "run 1 ended: exit 1", FAILED)]) == ("", ()), "longer than a day ago"


def test_a_loop_that_healed_by_itself() -> None:
    words, shown = told(loop(3))
    assert words.startswith("web/0 is running, as expected, since 579 s ago (9m ago)")
    assert "3 runs ended badly, the first at 600 s ago, the last at 580 s ago" in words
    assert "the keeper started it again by itself" in words
    assert shown[0].text.startswith("run 4 of") and len(shown) == 6
    one, _ = told(loop(1))
    assert "1 run ended badly, it was at 600 s ago" in one


def test_who_acted_is_said() -> None:
    words, shown = told([*loop(20), moment(300, "action", "#12 restart web/0 began, by li@jump-1"),
                         moment(290, "action", "#12 restart web/0 done")])  # fmt: skip
    assert "Acted on meanwhile: #12 restart web/0 by li@jump-1" in words and "by itself" not in words
    assert len(shown) == SHOWN and shown[0].text == "#12 restart web/0 done"


def test_what_never_ended_a_run() -> None:
    words, _ = told([moment(90, "health", "health ok → failing", FAILED), moment(30, "health", "failing → ok")])
    assert "since 30 s ago" in words and "the last: health ok → failing, at 90 s ago" in words
