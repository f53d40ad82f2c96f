"""Pieces of a topology file and what becomes of them: found, put back, checked, merged."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.editing.edit import EMPTY, GOOD, NOTE, SAME, WRONG, Clashes, Edit
from cockpit.editing.editor import Draft, editor, keeping_place
from cockpit.editing.piece import Piece, find, put
from cockpit.model.load import load_text
from cockpit.plan.steps import Bad, Refused

TEXT = """\
# the shop
cockpit: 1
name: shop
regions: {sh: , bj: }
hosts:
  # the old one
  # in the corner
  a-1: {region: sh, address: 127.0.9.1, labels: {disk: ssd}}
  b-1:
    region: bj   # far
    address: 127.0.9.2

guards:
  # keep it
  - name: night
    effect: deny
    reason: nobody is there
  - {name: few, max: 10, reason: no more}
schedules:
  clean: {cron: "@daily", argv: [rm, x]}
tree:
  shop:
    cluster: true
    children:
      # the front
      web: {version: 1.0.0, command: [serve, "{port}"], ports: [http],
            update: {healthy_for: 50ms}}   # two lines
      db:
        version: 1.0.0
        command: [sh, -c, "echo '# no comment'"]
        env:
          NOTE: |
            one

            two
  batch: {version: "1", command: ["true"]}
"""
PIECES = {
    "shop.web": (6, "# the front\nweb: {version", "# two lines\n"), "db": (6, "db:\n  version", "      two\n"),
    "shop": (2, "shop:\n  cluster", "      two\n"), "shop.db/0": (6, "db:", "two\n"),
    "batch": (2, 'batch: {version: "1"', "}\n"), "a-1": (2, "# the old one\n# in the corner\na-1:", "ssd}}\n"),
    "b-1": (2, "b-1:\n  region: bj   # far", "127.0.9.2\n"), "sh": (0, "regions: {sh: , bj: }", "}\n"),
    "night": (2, "# keep it\n- name: night", "there\n"), "few": (2, "- {name: few", "}\n"),
    "clean": (2, "clean:", "x]}\n"), "guards": (0, "guards:", "no more}\n"),
    "topology": (0, "# the shop", '["true"]}\n'),
}  # fmt: skip


@pytest.mark.parametrize("name", PIECES)
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_a_piece_is_found_with_its_comments_and_goes_back(name: str, newline: str) -> None:
    indent, begins, ends = PIECES[name]
    text = TEXT.replace("\n", newline)
    piece = find(text, name)
    assert piece.spot.indent == indent and piece.text.startswith(begins) and piece.text.endswith(ends)
    again = put(text, piece, piece.text)[0]
    assert again.replace("\r\n", "\n") == TEXT
    assert load_text(again.encode()).expected == load_text(TEXT.encode()).expected


def test_names_that_are_not_there_and_names_that_are_several_things() -> None:
    with pytest.raises(Bad, match="did you mean shop.web"):
        find(TEXT, "wbe")
    both = TEXT.replace("  batch:", "  a-1:")
    assert (find(both, "a-1").kind, find(both, "a-1", "host").kind) == ("node", "host")
    twice = TEXT.replace("  batch: {", "  web: {")
    assert find(twice, "web").name == "web"
    with pytest.raises(Bad, match="nothing to edit"):
        find(TEXT, "shop.web", "host")


def test_a_wrong_edit_names_the_line_that_the_editor_shows() -> None:
    edit = Edit(TEXT, 7, "db")
    shown = edit.written()
    assert shown.startswith(NOTE) and "revision 7" in shown
    bad = shown.replace("version: 1.0.0", "verson: 1.0.0").replace("env:", "env: [1]\n  emv:")
    assert edit.take(bad) == WRONG
    again = edit.written().splitlines()
    said = [n for n in edit.notes if "line " in n]
    assert len(said) >= 2 and any('did you mean "version"?' in n for n in said)
    lines = [int(n.partition("line ")[2].partition(",")[0]) for n in said]
    assert "verson" in again[lines[0] - 1]
    assert edit.take(edit.written()) == SAME, "left as it is: given up"
    good = bad.replace("verson", "version").replace("env: [1]\n  emv:", "env:").replace("1.0.0", "2.0.0")
    assert edit.take(good) == GOOD
    assert edit.intent().params["document"]["services"]["shop.db"]["version"] == "2.0.0"
    assert "# the front" in edit.intent().params["text"] and NOTE not in edit.intent().params["text"]


def test_trouble_elsewhere_is_said_so() -> None:
    edit = Edit(TEXT, 7, "a-1")
    assert edit.take(edit.written().replace("region: sh", "region: gz")) == WRONG
    assert "unknown region" in " ".join(edit.notes)
    gone = Edit(TEXT.replace('["true"]}', '["true"], depends: [db]}'), 7, "db")
    assert gone.take("other:\n  command: [x]\n") == WRONG
    assert "elsewhere" in " ".join(gone.notes) and "db" in " ".join(gone.notes)


def test_empty_and_unchanged_do_nothing() -> None:
    edit = Edit(TEXT, 7, "web")
    assert edit.take("") == edit.take(f"{NOTE}x\n\n") == EMPTY
    assert edit.take(edit.written()) == SAME


def test_the_head_moved() -> None:
    edit = Edit(TEXT, 7, "db")
    assert edit.take(edit.written().replace("1.0.0", "2.0.0").replace("db:", "# mine\ndb:", 1)) == GOOD
    head = TEXT.replace("region: sh,", "region: bj,").replace("[sh, -c", "[bash, -c")
    edit.move(head, 9)
    assert edit.revision == 9 and "# mine" in edit.text and "command: [bash, " in edit.text and "2.0.0" in edit.text
    assert "Revision 9 came meanwhile" in edit.written()
    assert edit.take(edit.written()) == GOOD, "unchanged means: taken as it was merged"
    params = edit.intent().params
    assert params["base"] == 9 and params["document"]["hosts"]["a-1"]["region"] == "bj"
    clash = TEXT.replace("version: 1.0.0\n", "version: 3.0.0\n")
    kept = edit.text
    with pytest.raises(Clashes, match=r'shop.db > version: was "1.0.0", is "3.0.0" now, in your edit "2.0.0"'):
        edit.move(clash, 10)
    assert (edit.revision, edit.text) == (9, kept)
    with pytest.raises(Clashes):
        edit.move(TEXT.replace("      db:", "      dbx:"), 10)


@given(st.sampled_from(sorted(PIECES)), st.text(alphabet=" abc:#-{}[]\n|'\"", max_size=60))
def test_whatever_is_typed_stays_in_its_place(name: str, typed: str) -> None:
    """The text around the piece is never touched, and nothing but our own errors is raised."""
    edit = Edit(TEXT, 1, name)
    piece: Piece = edit.piece
    if edit.take(typed) in (GOOD, WRONG):
        assert edit.whole.startswith(TEXT[: piece.spot.start])
        assert edit.whole.endswith(TEXT[piece.spot.end :])


# the editor


def test_the_editor_is_an_argv(tmp_path: Path) -> None:
    tool = tmp_path / "ed it"
    tool.write_text('#!/bin/sh\nprintf "%s|" "$@" > "$0.args"\nfor f; do :; done\necho "typed; $(id)" >> "$f"\n')
    tool.chmod(0o755)
    argv = editor({"EDITOR": f"'{tool}' -w ';touch x'", "PATH": "/usr/bin:/bin"})
    draft = Draft("shop.web/../x")
    try:
        left = draft.open(argv, "a: 1\n")
        assert left.startswith("a: 1\ntyped; ")
        assert Path(f"{tool}.args").read_text() == f"-w|;touch x|{draft.path}|"
        assert draft.path.parent == draft.directory and draft.directory.stat().st_mode & 0o777 == 0o700
    finally:
        draft.close()
    assert not draft.directory.exists()


def test_an_editor_that_fails_or_is_not_there() -> None:
    for environ, says in (({"VISUAL": "'x"}, "cannot be read"), ({"EDITOR": "no-such-editor"}, "no such program"),
                          ({"PATH": "/nowhere"}, "set VISUAL or EDITOR")):
        with pytest.raises(Bad, match=says):
            editor(environ)
    draft = Draft("x")
    with pytest.raises(Refused, match="exit 1"):
        draft.open(["false"], "")
    draft.close()


def test_kept_texts_are_private_and_never_overwritten(tmp_path: Path) -> None:
    draft = Draft("shop.web")
    home = keeping_place({"XDG_STATE_HOME": str(tmp_path)})
    paths = {draft.keep(f"text {n}", home) for n in range(3)}
    assert len(paths) == 3 and {p.read_text() for p in paths} == {"text 0", "text 1", "text 2"}
    assert {p.stat().st_mode & 0o777 for p in paths} == {0o600}
    draft.close()
