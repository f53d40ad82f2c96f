"""Differences between manifests: what was made is what comes out, and nothing else does."""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit.swarm import difference as module
from cockpit.swarm.difference import MAGIC, DifferenceError, apply, difference
from cockpit.swarm.manifest import digest_of, parse, text
from cockpit.swarm.varint import read_signed, read_varint, signed, varint
from tests.swarm.handmade import Made

LINES = st.lists(
    st.sampled_from([b"a\n", b"b\n", b'"x y"\n', b'f 644 12345678 aaaa "x y"\n', b'f 755 12345678 bbbb "x y"\n'])
    | st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"") + b"\n"),
    max_size=30,
)  # fmt: skip


@given(st.integers(0, 2**63 - 1), st.integers(-(2**62), 2**62 - 1))
def test_numbers(plain: int, either: int) -> None:
    data = iter(varint(plain) + signed(either))
    assert read_varint(lambda: next(data)) == plain
    assert read_signed(lambda: next(data)) == either
    assert next(data, None) is None


def test_a_number_that_never_ends() -> None:
    with pytest.raises(ValueError, match="too long"):
        read_varint(lambda: 255)


@given(LINES, LINES, st.integers(1, 50))
def test_what_is_made_comes_out(old: list[bytes], new: list[bytes], block: int) -> None:
    data = difference(old, new)
    blocks = [data[at : at + block] for at in range(0, len(data), block)]
    out = list(apply(old, blocks, digest_of(new)))
    assert out == new, "line by line"


@given(LINES, LINES, st.data())
def test_a_damaged_difference_gives_the_right_text_or_an_error(
    old: list[bytes], new: list[bytes], data: st.DataObject
) -> None:
    made = bytearray(difference(old, new))
    at = data.draw(st.integers(0, len(made) - 1))
    if data.draw(st.booleans()):
        del made[at:]
    else:
        made[at] ^= data.draw(st.integers(1, 255))
    try:
        assert list(apply(old, [bytes(made)], digest_of(new))) == new
    except DifferenceError:
        pass


def test_every_cut_is_an_error() -> None:
    old, new = [b"one\n", b"two\n"], [b"one\n", b"three\n", b"two\n"]
    data = difference(old, new)
    for end in range(len(data)):
        with pytest.raises(DifferenceError):
            list(apply(old, [data[:end]], digest_of(new)))
    with pytest.raises(DifferenceError, match="follows"):
        list(apply(old, [data, b"x"], digest_of(new)))


def test_the_wrong_texts() -> None:
    old, new = [b"one\n"], [b"two\n"]
    data = difference(old, new)
    with pytest.raises(DifferenceError, match="another manifest than the one held"):
        list(apply([b"three\n"], [data], digest_of(new)))
    with pytest.raises(DifferenceError, match="than the wanted one"):
        list(apply(old, [data], digest_of(old)))
    with pytest.raises(DifferenceError, match="known format"):
        list(apply(old, [zlib.compress(b"x" * 500)], digest_of(new)))


def forged(steps: bytes, old: list[bytes], claimed: str) -> bytes:
    return zlib.compress(MAGIC + f"{digest_of(old)} {claimed}\n".encode() + steps)


def test_forged_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    old, claimed = [b"0123456789\n" * 100], "0" * 64
    for steps, why in (
        (varint(0) + signed(-1) + varint(5), "does not have"),
        (varint(0) + signed(0) + varint(2000), "does not have"),
        (varint(0) + signed(2**61) + varint(1), "does not have"),
        (varint(0) + signed(0) + varint(0), "does nothing"),
        (b"\xff" * 20, "too long"),
        (varint(2**62), "cut off"),
        (varint(0) + signed(0) + varint(11), "another manifest than it says"),
    ):
        with pytest.raises(DifferenceError, match=why):
            list(apply(old, [forged(steps, old, claimed)], claimed))
    flood = zlib.compress(MAGIC + f"{digest_of(old)} {claimed}\n".encode() + varint(2**40) + b"x" * 200_000)
    with pytest.raises(DifferenceError, match="line of more"):
        list(apply(old, [flood], claimed))
    monkeypatch.setattr(module, "MAX_TEXT", 10_000)
    bomb = (varint(0) + signed(0) + varint(1100)) + (varint(0) + signed(-1100) + varint(1100)) * 1_000_000
    with pytest.raises(DifferenceError, match="longer than"):
        for _ in apply(old, [forged(bomb, old, claimed)], claimed):
            pass


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_of_real_manifests(seed: int) -> None:
    rng = random.Random(seed)
    big = rng.randbytes(40 * 16384)
    files = {"lib": None, "lib/big": big, **{f"lib/{n:03}.py": rng.randbytes(1 + n * 7) for n in range(150)}}
    old = Made(files)
    at = rng.randrange(len(big))
    files = {**files, "lib/big": big[:at] + b"changed!" + big[at + 8 :], "lib/077.py": b"other", "lib/new.py": b"new"}
    del files["lib/100.py"]
    new = Made(files, "1.0.1")
    before, after = list(text(old.manifest)), list(text(new.manifest))
    data = difference(before, after)
    assert len(data) < 1000 < len(zlib.compress(b"".join(after))) / 8
    assert parse(apply(before, [data], new.manifest.sha256)).sha256 == new.manifest.sha256
