"""The door without a server."""

from __future__ import annotations

import pytest

from cockpit.web.child import bounded
from cockpit.web.gate import FREE, MOST_COOKIES, PER_SECOND, Gate, allowed
from screens.browser import refusal
from screens.saving import save_new


def gate() -> Gate:
    return Gate(*allowed("127.0.0.1", 8377, ["https://cockpit.example.org"]))


def test_hosts_and_origins() -> None:
    g = gate()
    assert all(map(g.host_is_ours, ("127.0.0.1:8377", "LOCALHOST:8377", "cockpit.example.org")))
    others = ("", "127.0.0.1", "127.0.0.1:80", "evil.example:8377", "cockpit.example.org.evil")
    assert not any(map(g.host_is_ours, others))
    assert g.origin_is_ours("http://127.0.0.1:8377") and g.origin_is_ours("https://cockpit.example.org")
    assert not any(map(g.origin_is_ours, ("", "null", "https://127.0.0.1:8377", "http://cockpit.example.org")))
    assert "[::1]:8377" in allowed("::1", 8377, [])[0]
    for wrong in ("cockpit.example.org", "ftp://x", "https://x/path", "https://u:p@x"):
        with pytest.raises(ValueError, match="is no origin"):
            allowed("127.0.0.1", 1, [wrong])


def test_a_link_is_used_up_and_the_newest_counts() -> None:
    g = gate()
    assert g.enter("", 0.0) is None, "before there is a link nothing fits"
    old, new = g.new_link(), g.new_link()
    assert g.enter(old, 0.0) is None
    cookie = g.enter(new, 0.0)
    assert cookie is not None and cookie != new and g.knows(cookie, 0.0)
    assert g.enter(new, 0.0) is None and not g.knows("", 0.0) and not g.knows(new, 0.0)


def test_wrong_ones_are_slowed_down() -> None:
    g = gate()
    right = g.new_link()
    for _ in range(int(FREE)):
        assert not g.blocked(5.0) and g.enter("wrong", 5.0) is None
    assert g.blocked(5.0) and g.enter(right, 5.0) is None, "nothing is compared"
    assert not g.blocked(5.0 + 1.01 / PER_SECOND)
    cookie = g.enter(right, 5.0 + 1.01 / PER_SECOND)
    assert cookie
    for _ in range(100):
        g.knows("wrong", 9.0)
    assert g.blocked(9.0) and g.knows(cookie, 9.0)


def test_cookies_are_bounded() -> None:
    g = gate()
    cookies = [str(g.enter(g.new_link(), 0.0)) for _ in range(MOST_COOKIES + 1)]
    assert not g.knows(cookies[0], 0.0) and all(g.knows(c, 0.0) for c in cookies[1:])


def test_sizes_and_what_a_viewer_may_do(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    assert bounded(0, 9**9) == (20, 200) and bounded(120, 40) == (120, 40)
    assert refusal({"COCKPIT_WEB": "view"}) and not refusal({"COCKPIT_WEB": "control"}) and not refusal({})
    monkeypatch.setenv("COCKPIT_WEB", "view")
    with pytest.raises(OSError, match="only look"):
        save_new(f"{tmp_path}/x", "text")
