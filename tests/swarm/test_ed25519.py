"""Ed25519 against the RFC's vectors, against a compiled library, and against what a lax reader would take."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit.swarm.ed25519 import BadKey, L, P, check_key, verify

# RFC 8032, section 7.1: TEST 1, 2, 3 and SHA(abc)
VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
        "4a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        hashlib.sha512(b"abc").hexdigest(),
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e030"
        "3dca179c138ac17ad9bef1177331a704",
    ),
]

SMALL_ORDER = [  # the eight points whose order divides 8, canonical
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]


def pair(seed: bytes) -> tuple[Ed25519PrivateKey, bytes]:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return key, key.public_key().public_bytes_raw()


@pytest.mark.parametrize(("key", "message", "signature"), VECTORS)
def test_vectors_of_the_rfc(key: str, message: str, signature: str) -> None:
    public, text, sign = bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(signature)
    assert verify(public, text, sign)
    assert not verify(public, text + b"\0", sign)


seeds = st.binary(min_size=32, max_size=32)


@settings(max_examples=40, deadline=None)
@given(seeds, st.binary(max_size=300))
def test_takes_what_a_compiled_library_signs(seed: bytes, message: bytes) -> None:
    key, public = pair(seed)
    assert verify(public, message, key.sign(message))


@settings(max_examples=80, deadline=None)
@given(seeds, st.binary(min_size=1, max_size=60), st.integers(0, 8 * 160 - 1))
def test_one_flipped_bit_anywhere_and_it_says_what_the_library_says(seed: bytes, message: bytes, bit: int) -> None:
    key, public = pair(seed)
    whole = bytearray(public + key.sign(message) + message)
    bit %= 8 * len(whole)
    whole[bit // 8] ^= 1 << bit % 8
    parts = bytes(whole[:32]), bytes(whole[96:]), bytes(whole[32:96])
    try:
        Ed25519PublicKey.from_public_bytes(parts[0]).verify(parts[2], parts[1])
        theirs = True
    except InvalidSignature:
        theirs = False
    try:
        ours = verify(*parts)
    except BadKey:
        ours = False
    assert ours == theirs
    assert not ours


@pytest.mark.parametrize("length", [0, 63, 65, 128])
def test_a_signature_of_another_length(length: int) -> None:
    key, public = pair(b"s" * 32)
    assert not verify(public, b"m", (key.sign(b"m") * 3)[:length])


def test_the_same_signature_with_a_larger_s_is_another_one() -> None:
    key, public = pair(b"s" * 32)
    signature = key.sign(b"m")
    s = int.from_bytes(signature[32:], "little")
    assert verify(public, b"m", signature)
    for larger in (s + L, s + 2 * L):
        assert not verify(public, b"m", signature[:32] + larger.to_bytes(32, "little"))


def test_r_has_one_encoding() -> None:
    """With a nonce of 0, R is the identity, which a lax decoder also reads from y = P + 1."""
    seed = b"n" * 32
    _, public = pair(seed)
    scalar = bytearray(hashlib.sha512(seed).digest()[:32])
    scalar[0] &= 248
    scalar[31] = scalar[31] & 127 | 64
    a = int.from_bytes(scalar, "little")
    for encoded, good in ((1, True), (P + 1, False), (1 | 1 << 255, False)):
        r = encoded.to_bytes(32, "little")
        k = int.from_bytes(hashlib.sha512(r + public + b"m").digest(), "little") % L
        assert verify(public, b"m", r + (k * a % L).to_bytes(32, "little")) is good


@pytest.mark.parametrize("key", SMALL_ORDER)
def test_keys_of_small_order(key: str) -> None:
    with pytest.raises(BadKey, match="small order"):
        check_key(bytes.fromhex(key))


def test_a_key_of_small_order_would_fit_anything() -> None:
    """What the refusal is for: R = S*B fits every message under the identity as key."""
    key, signature = bytes.fromhex(SMALL_ORDER[0]), (1).to_bytes(32, "little") + bytes(32)
    Ed25519PublicKey.from_public_bytes(key).verify(signature, b"anything")
    with pytest.raises(BadKey):
        verify(key, b"anything", signature)


@pytest.mark.parametrize(
    "y", [P, P + 1, P + 3, 2**255 - 1, 2, 1 | 1 << 255, (P - 1) | 1 << 255], ids=lambda y: f"{y:x}"[:8]
)
def test_keys_that_are_no_canonical_point(y: int) -> None:
    with pytest.raises(BadKey, match="canonical"):
        check_key(y.to_bytes(32, "little"))


@pytest.mark.parametrize("key", [b"", b"k" * 31, b"k" * 33])
def test_keys_of_another_length(key: bytes) -> None:
    with pytest.raises(BadKey, match="32 bytes"):
        check_key(key)
