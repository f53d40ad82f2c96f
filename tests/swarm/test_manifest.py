"""Manifests: the text is canonical, and nothing that leaves, lies or overflows is read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.swarm import manifest as m
from cockpit.swarm.manifest import Chunks, Entry, Manifest, ManifestError, parse, text

HEAD = [m.FORMAT, b'name "web"\n', b'version "1.0"\n', b'platform "any"\n', b"kind release\n"]
SHA = hashlib.sha256(b"x").hexdigest()
OTHER = hashlib.sha256(b"y").hexdigest()
NONE = hashlib.sha256().hexdigest()


def body(*lines: str) -> list[bytes]:
    return [*HEAD, *(f"{line}\n".encode() for line in lines), b"end\n"]


def digest(n: int) -> bytes:
    return hashlib.sha256(str(n).encode()).digest()


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    chunks = Chunks()
    dirs = sorted(draw(st.sets(st.sampled_from(["a", "a-b", "b", "b/c", "b/c/d"]))))
    known = [d for d in dirs if not d.rpartition("/")[0] or d.rpartition("/")[0] in dirs]
    known = [d for d in known if all("/".join(d.split("/")[:n]) in known for n in range(1, d.count("/") + 1))]
    entries = [Entry("d", d) for d in known]
    names = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="/\0"), min_size=1, max_size=8)
    taken = set(known)
    for n in range(draw(st.integers(0, 6))):
        path = "/".join(filter(None, (draw(st.sampled_from(["", *known])), draw(names))))
        if path in taken or path.rpartition("/")[2] in (".", ".."):
            continue
        taken.add(path)
        if draw(st.booleans()) and n:
            entries.append(Entry("l", path, target="x"))
            continue
        sizes = draw(st.lists(st.integers(1, m.MAX_CHUNK), max_size=4))
        extents = [chunks.add(digest(size), size) for size in sizes]
        size = sum(sizes)
        if draw(st.booleans()):
            extents.append(-m.MIN_HOLE)
            size += m.MIN_HOLE
        sha = chunks.digest(extents[0]) if len(extents) == 1 and extents[0] >= 0 else digest(-n - 1)
        entries.append(Entry("f", path, mode=0o644, size=size, sha256=sha if size else m.EMPTY, extents=extents))
    # chunks are numbered in the order of the sorted entries when they are read back
    entries.sort(key=lambda e: e.path.encode())
    again = Chunks()
    for entry in entries:
        for n, extent in enumerate(entry.extents):
            if extent >= 0:
                entry.extents[n] = again.add(chunks.digest(extent), chunks.lengths[extent])
    return Manifest("web", "1.0", "any", "release", entries, again)


@given(manifests())
def test_what_is_written_reads_back_the_same(manifest: Manifest) -> None:
    written = list(text(manifest))
    again = parse(written)
    assert again.sha256 == manifest.sha256 == hashlib.sha256(b"".join(written)).hexdigest()
    assert list(text(again)) == written
    assert (again.size, again.files, len(again.chunks)) == (manifest.size, manifest.files, len(manifest.chunks))
    assert [list(e.extents) for e in again.entries] == [list(e.extents) for e in manifest.entries]


@given(st.lists(st.binary(max_size=40), max_size=12))
def test_garbage_is_an_error_of_ours(lines: list[bytes]) -> None:
    with pytest.raises(ManifestError):
        parse([*HEAD, *lines])


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([f'f 644 1 {SHA} "../x"'], "inside"),
        ([f'f 644 1 {SHA} "/etc/x"'], "inside"),
        ([f'f 644 1 {SHA} "a//b"'], "inside"),
        ([f'f 644 1 {SHA} "."'], "inside"),
        ([f'f 644 1 {SHA} "a/b"'], "not below a directory"),
        ([f'f 644 1 {SHA} "a"', f'f 644 1 {SHA} "a/b"'], "not below a directory"),
        (['l "a" "b"', f'f 644 1 {SHA} "a/b"'], "not below a directory"),
        ([f'f 644 1 {SHA} "b"', f'f 644 1 {SHA} "a"'], "order"),
        ([f'f 644 1 {SHA} "a"', f'f 644 1 {SHA} "a"'], "twice"),
        ([f'f 4755 1 {SHA} "a"'], "mode"),
        ([f'f 644 -1 {SHA} "a"'], "number"),
        ([f'f 644 0 {SHA} "a"'], "empty file"),
        ([f'f 644 1 {SHA[:10]} "a"'], "SHA-256"),
        ([f'f 644 100000 {SHA} "a"'], "have chunks"),
        ([f'f 644 3 {SHA} "a"', f"c 2 {SHA}"], "2 of 3"),
        ([f'f 644 3 {SHA} "a"', f"c 2 {SHA}", f"c 2 {OTHER}"], "longer"),
        ([f'f 644 2 {SHA} "a"', f"c 2 {SHA}"], "too many"),
        ([f'f 644 9000000000 {SHA} "a"', "z 9000000000"], "together"),
        ([f'f 644 10737418240 {SHA} "a"', "z 10737418240"], "together"),
        ([f'f 644 100 {SHA} "a"', "z 100"], "hole"),
        ([f'f 644 8192 {SHA} "a"', "z 4096", "z 4096"], "hole"),
        ([f'f 644 70000 {SHA} "a"', f"c 70000 {SHA}"], "70000"),
        ([f'f 644 2 {OTHER} "a"', f"c 1 {SHA}", f"c 1 {SHA}", f"c 2 {SHA}"], "two lengths|longer"),
        ([f"c 1 {SHA}"], "without a file"),
        (['l "a" "/etc"'], "leaves"),
        (['l "a" ".."'], "leaves"),
        (['d "a"', 'l "a/b" "../../x"'], "leaves"),
        (['d "a"', 'l "a/b" ".."', 'l "c" "a/b/../x"'], "leaves"),
        (['l "a" "b"', 'l "b" "a"'], "circle"),
        (['x "a"'], "unknown"),
        (["end", "end"], "follows"),
        (['d "a\\u0000"'], "NUL"),
        (['d "a\\ud800"'], "text"),
        (["d 7"], "text"),
        (['d "\\u0061"'], "canonical"),
        (["d " + "[" * 8000], "not a line"),
    ],
)
def test_what_must_not_be_read(lines: list[str], why: str) -> None:
    with pytest.raises(ManifestError, match=why):
        parse(body(*lines))


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:-1],
        lambda lines: lines[1:],
        lambda lines: [*lines[:-1], b"end"],
        lambda lines: [*lines[:1], b'name "a/b"\n', *lines[2:]],
        lambda lines: [*lines[:4], b"kind rpm\n", *lines[5:]],
        lambda lines: [*lines[:5], b"d " + b" " * m.MAX_LINE + b'"x"\n', *lines[5:]],
    ],
)
def test_a_broken_frame(change: Callable[[list[bytes]], list[bytes]]) -> None:
    assert parse(body('d "a"')).files == 0
    with pytest.raises(ManifestError):
        parse(change(body('d "a"')))


def test_a_link_through_a_link_may_stay_inside() -> None:
    found = parse(body('d "a"', 'd "a/b"', 'l "a/b/up" "../.."', 'l "c" "a/b/up/a"'))
    assert [e.target for e in found.entries if e.kind == "l"] == ["../..", "a/b/up/a"]


@given(st.lists(st.integers(0, 3000), max_size=3000))
def test_chunks_are_found_again(numbers: list[int]) -> None:
    chunks, known = Chunks(), {}
    for n in numbers:
        known.setdefault(n, len(known))
        assert chunks.add(digest(n), n + 1) == known[n]
    assert len(chunks) == len(known)
    for n, index in known.items():
        assert chunks.find(digest(n)) == index
        assert (chunks.digest(index), chunks.lengths[index]) == (digest(n), n + 1)
    assert chunks.find(digest(-1)) == -1
