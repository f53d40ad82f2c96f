"""Verification of Ed25519 signatures (RFC 8032, section 5.1) in plain Python.

A host checks what it installs without a compiled package, so this takes a few milliseconds instead of
microseconds; it is done once per signature and fetch. Nothing here is secret: keys and signatures
are public, so time may depend on them. There is no signing here.

Strict where the RFC leaves a choice: S below the group's order, points in their one canonical encoding,
keys of small order refused (under those, one signature fits many messages).
"""

from __future__ import annotations

import hashlib
from typing import List, Optional, Tuple

P = 2**255 - 19
"""The field's prime."""
L = 2**252 + 27742317777372353535851937790883648493
"""The order of the base point."""
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)

KEY_BYTES = 32
SIGNATURE_BYTES = 64

Point = Tuple[int, int, int, int]
"""Extended coordinates (X, Y, Z, T): x = X/Z, y = Y/Z, x*y = T/Z."""

IDENTITY: Point = (0, 1, 1, 0)


class BadKey(ValueError):
    """These bytes are no public key that anybody should be believed by."""


def check_key(key: bytes) -> None:
    """Raises BadKey for what is not the canonical encoding of a point that has a large order."""
    _point_of(key)


def verify(key: bytes, message: bytes, signature: bytes) -> bool:
    """Is this the signature of the message by the key's holder? Raises BadKey."""
    point = _point_of(key)
    if len(signature) != SIGNATURE_BYTES:
        return False
    r = signature[:32]
    s = int.from_bytes(signature[32:], "little")
    if s >= L:
        return False
    k = int.from_bytes(hashlib.sha512(r + key + message).digest(), "little") % L
    # S*B = R + k*A, so R must be S*B - k*A. It is compared by its encoding: only the canonical one is
    # ever made here, so that no other one is taken.
    return _encode(_sum_of_products(s, _BASE, k, _negative(point))) == r


def _point_of(key: bytes) -> Point:
    if len(key) != KEY_BYTES:
        raise BadKey(f"a public key has {KEY_BYTES} bytes, this has {len(key)}")
    point = _decode(key)
    if point is None:
        raise BadKey("this is not a point of the curve in its canonical encoding")
    double = _double(_double(_double(point)))
    if double[0] % P == 0 and (double[1] - double[2]) % P == 0:
        raise BadKey("this key has a small order: anybody can make signatures that fit it")
    return point


def _decode(data: bytes) -> Optional[Point]:
    """Section 5.1.3; None when there is no such point, or the encoding is not the canonical one."""
    y = int.from_bytes(data, "little")
    sign = y >> 255
    y &= (1 << 255) - 1
    if y >= P:
        return None
    u = (y * y - 1) % P
    v = (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    square = v * x * x % P
    if square != u:
        if square != -u % P:
            return None
        x = x * ROOT_OF_MINUS_ONE % P
    if x == 0 and sign:
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


def _encode(point: Point) -> bytes:
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _negative(point: Point) -> Point:
    return P - point[0], point[1], point[2], P - point[3]


def _add(p: Point, q: Point) -> Point:
    """Section 5.1.4. Complete: it also doubles, and adds the identity."""
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * p[3] * q[3] * D % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _double(p: Point) -> Point:
    a = p[0] * p[0] % P
    b = p[1] * p[1] % P
    c = 2 * p[2] * p[2] % P
    h = a + b
    e = h - (p[0] + p[1]) * (p[0] + p[1]) % P
    g = a - b
    f = c + g
    return e * f % P, g * h % P, f * g % P, e * h % P


def _sum_of_products(m: int, p: Point, n: int, q: Point) -> Point:
    """m*p + n*q, bit by bit for both at once."""
    table: List[Point] = [IDENTITY, p, q, _add(p, q)]
    result = IDENTITY
    for bit in range(max(m.bit_length(), n.bit_length()) - 1, -1, -1):
        result = _double(result)
        choice = (m >> bit & 1) | (n >> bit & 1) << 1
        if choice:
            result = _add(result, table[choice])
    return result


def _base() -> Point:
    """The point with y = 4/5 and an even x."""
    point = _decode((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
    assert point is not None
    return point


_BASE = _base()
