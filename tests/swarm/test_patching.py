"""Applying patches: the right files or a PatchError, in bounded memory."""

from __future__ import annotations

import lzma
import random
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit.artifacts.patch import make
from cockpit.swarm.assemble import install
from cockpit.swarm.holdings import Holdings
from cockpit.swarm.manifest import text
from cockpit.swarm.patching import BLOCK, WINDOWS, Patch, PatchError, added, covered, filters
from cockpit.swarm.varint import signed, varint
from tests.swarm.handmade import Made

RNG = random.Random(11)
CODE = RNG.randbytes(200_000)
FILES = {
    "app": None, "app/code": CODE, "app/same": b"same" * 9000, "app/notes-1.0.txt": b"one two three\n" * 400,
    "holed": [CODE[:30_000], 65_536, CODE[:50]],
}  # fmt: skip
OLD = Made(FILES)
MOVED = {path: what for path, what in FILES.items() if path != "app/notes-1.0.txt"}
NEW = Made({
    **MOVED, "app/code": CODE[:70_000] + b"inserted" + CODE[70_000:150_000] + CODE[160_000:],
    "app/notes-1.1.txt": b"one two three\n" * 380 + b"four\n", "copy": b"same" * 9000, "empty": b"",
    "holed": [CODE[:30_000], 131_072, CODE[1:51]], "fresh": RNG.randbytes(5000),
}, "1.1.0", programs=["app/code"])  # fmt: skip


@pytest.fixture(scope="session")
def patch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("patch") / "patch"
    make(OLD.manifest, OLD.read, NEW.manifest, NEW.read, out)
    return out


@pytest.fixture
def host(tmp_path: Path) -> Path:
    install(str(tmp_path), OLD.manifest, Holdings(str(tmp_path), "web"), OLD.read)
    return tmp_path


def root(host: Path) -> str:
    return str(host / "releases/web/1.0.0")


def run(host: Path, patch: Path, old: Made = OLD, new: Made = NEW) -> None:
    with Patch(str(patch), root(host), old.manifest, new.manifest) as p, Holdings(str(host), "web") as h:
        install(str(host), new.manifest, h, patch=p)


def test_a_patch_makes_the_new_version_alone(host: Path, patch: Path) -> None:
    run(host, patch)
    for entry in NEW.manifest.entries:
        if entry.kind == "f":
            path = host / "releases/web/1.1.0" / entry.path
            content = b"".join(bytes(-x) if x < 0 else NEW.read(x) for x in entry.extents)
            assert path.read_bytes() == content, entry.path
            assert path.stat().st_mode & 0o777 == entry.mode
    assert (host / "releases/web/1.1.0/holed").stat().st_blocks * 512 < 131_072
    assert patch.stat().st_size < 6500, "five thousand bytes are new and random"
    assert [e.path for e in covered(OLD.manifest, NEW.manifest)] == [
        "app/code", "app/notes-1.1.txt", "fresh", "holed",
    ]  # fmt: skip


def test_an_old_version_that_was_altered(host: Path, patch: Path) -> None:
    for path, damage in (
        ("app/code", b"\0" * len(CODE)), ("app/code", CODE[:1000]), ("app/code", None), ("app/same", b"SAME" * 9000),
        ("app/same", None), ("app/same", b"short"),
    ):  # fmt: skip
        file = Path(root(host)) / path
        was = file.read_bytes()
        file.unlink()
        if damage is not None:
            file.write_bytes(damage)
        with pytest.raises(PatchError):
            run(host, patch)
        file.unlink(missing_ok=True)
        file.write_bytes(was)
        assert not (host / "releases/web/1.1.0").exists()
    run(host, patch)


def test_a_patch_for_other_versions(host: Path, patch: Path) -> None:
    other = Made({"x": b"y"}, "1.1.0")
    for old, new in ((OLD, other), (other, NEW), (NEW, OLD)):
        with pytest.raises(PatchError, match="other versions"):
            run(host, patch, old, new)


SMALL_TEXT = RNG.randbytes(3000)
LATER_TEXT = SMALL_TEXT[:1000] + b"between" + SMALL_TEXT[1100:] + b"after"
SMALL, LATER = Made({"f": SMALL_TEXT}, "1"), Made({"f": LATER_TEXT}, "2")
N = len(LATER_TEXT)
Steps = Iterable[tuple[int, int, int, int]]


class Small:
    """A release of one file, and patches of it by hand."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "f").write_bytes(SMALL_TEXT)
        make(SMALL.manifest, SMALL.read, LATER.manifest, LATER.read, root / "patch")
        self.good = (root / "patch").read_bytes()

    def forged(self, steps: Steps, differences: bytes = b"", extra: bytes = b"") -> bytes:
        control = b"".join(signed(skip) + varint(c) + varint(a) + varint(e) for skip, c, a, e in steps)
        return self.joined([packed(0, control), packed(1, differences), packed(2, extra)])

    def joined(self, streams: list[bytes]) -> bytes:
        sizes = " ".join(str(len(s)) for s in streams)
        head = f"cockpit-patch 1\n{SMALL.manifest.sha256} {LATER.manifest.sha256} {sizes}\n"
        return head.encode() + b"".join(streams)

    def apply(self, patch: bytes) -> bytes:
        (self.root / "forged").write_bytes(patch)
        out = self.root / "out"
        with Patch(str(self.root / "forged"), str(self.root), SMALL.manifest, LATER.manifest) as p:
            with out.open("w+b") as f:
                p.write(LATER.manifest.entries[0], f.fileno())
                p.finish()
        return out.read_bytes()


def packed(stream: int, data: bytes) -> bytes:
    return lzma.compress(data, lzma.FORMAT_RAW, filters=filters(WINDOWS[stream]))


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return Small(tmp_path_factory.mktemp("small"))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_patch_makes_the_right_files_or_an_error(small: Small, data: st.DataObject) -> None:
    made = bytearray(small.good)
    at = data.draw(st.integers(0, len(made) - 1))
    if data.draw(st.booleans()):
        del made[at:]
    else:
        made[at] ^= data.draw(st.integers(1, 255))
    try:
        assert small.apply(bytes(made)) == LATER_TEXT
    except PatchError:
        pass


def test_patches_by_hand(small: Small) -> None:
    steps = [(0, 500, 500, 7), (100, 1900, 0, 5)]
    assert small.apply(small.forged(steps, bytes(500), b"between" + b"after")) == LATER_TEXT
    assert small.apply(small.forged([(0, 0, 0, N)], b"", LATER_TEXT)) == LATER_TEXT


ONES = b"1" * N
FORGED: dict[str, tuple[str, Steps, bytes, bytes]] = {
    "steps that do nothing": ("impossible", [(0, 0, 0, 0)] * 1000, b"", b""),
    "more than the version": ("impossible", [(0, 0, 0, N + 1)], b"", ONES + b"1"),
    "far more than the version": ("impossible", [(0, 2**62, 0, 0)], b"", b""),
    "beyond the old end": ("outside", [(2000, 1001, 0, 0)], b"", b""),
    "before the old start": ("outside", [(-1, 5, 0, 0)], b"", b""),
    "far away": ("outside", [(2**61, 5, 0, 0)], b"", b""),
    "too few differences": ("too early", [(0, 0, 5, 0)], b"1234", b""),
    "too little extra": ("too early", [(0, 0, 0, 5)], b"", b"1234"),
    "differences left": ("more data", [(0, 0, 0, N)], b"x", LATER_TEXT),
    "extra left": ("more data", [(0, 0, 0, N)], b"", LATER_TEXT + b"x"),
    "too short": ("makes less", [(0, 10, 0, 0)], b"", b""),
    "another content": ("another f", [(0, 0, 0, N)], b"", ONES),
}


@pytest.mark.parametrize(("why", "steps", "differences", "extra"), FORGED.values(), ids=FORGED)
def test_forged_steps(small: Small, why: str, steps: Steps, differences: bytes, extra: bytes) -> None:
    with pytest.raises(PatchError, match=why):
        small.apply(small.forged(steps, differences, extra))


@pytest.mark.parametrize(("why", "control"), [
    ("cut off", b""),
    ("broken|cut off", b"\x03\x01nonsense" * 9),
    ("follows", packed(0, b"") + b"x"),
    ("too long", packed(0, b"\xff" * 50)),
], ids=["none", "broken", "something follows", "a number without end"])  # fmt: skip
def test_forged_streams(small: Small, why: str, control: bytes) -> None:
    with pytest.raises(PatchError, match=why):
        small.apply(small.joined([control, packed(1, b""), packed(2, b"")]))


@given(st.binary(max_size=300), st.randoms())
def test_addition(base: bytes, rng: random.Random) -> None:
    plus = rng.randbytes(len(base))
    assert added(bytearray(base), bytearray(plus)) == bytes((a + b) & 255 for a, b in zip(base, plus, strict=True))


@pytest.mark.parametrize("length", [BLOCK - 1, BLOCK, 2 * BLOCK - 1, 2 * BLOCK])
def test_addition_of_the_largest_blocks(length: int) -> None:
    assert added(bytearray(b"\xff" * length), bytearray(b"\xff" * length)) == b"\xfe" * length


MEMORY = """
import resource, sys
from cockpit.swarm.patching import Patch
from cockpit.swarm.manifest import read
root, patch, old, new, out = sys.argv[1:]
old, new = read(old), read(new)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with Patch(patch, root, old, new) as p, open(out, "wb") as f:
    p.write(new.entries[0], f.fileno())
    p.finish()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_does_not_grow_with_the_files(tmp_path: Path) -> None:
    count = 40 * 2**20
    content = RNG.randbytes(2**20) * 40
    old = Made({"f": content}, "1")
    new = Made({"f": b"!" + content[:-1]}, "2")
    (tmp_path / "f").write_bytes(content)
    steps = signed(0) + varint(0) + varint(0) + varint(1) + signed(0) + varint(0) + varint(count - 1) + varint(0)
    streams = [packed(0, steps), packed(1, bytes(count - 1)), packed(2, b"!")]
    sizes = " ".join(str(len(s)) for s in streams)
    head = f"cockpit-patch 1\n{old.manifest.sha256} {new.manifest.sha256} {sizes}\n"
    (tmp_path / "patch").write_bytes(head.encode() + b"".join(streams))
    (tmp_path / "old").write_bytes(b"".join(text(old.manifest)))
    (tmp_path / "new").write_bytes(b"".join(text(new.manifest)))
    args = [str(tmp_path), *(str(tmp_path / n) for n in ("patch", "old", "new", "out"))]
    done = subprocess.run([sys.executable, "-c", MEMORY, *args], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20 * 1024, "KiB, of which the windows take 9 MiB"
