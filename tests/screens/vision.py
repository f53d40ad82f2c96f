"""Contrast and colours as people see them: what the tests of the themes measure with. Pure.

Contrast: WCAG 2.2, relative luminance and contrast ratio (w3.org/TR/WCAG22). Colour vision: Machado, Oliveira and
Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency", IEEE TVCG 15(6), 2009, the
matrices of severity 1.0, on linear RGB. Distance: CIE 1976 L*a*b* under D65, Euclidean.
"""

from __future__ import annotations

Rgb = tuple[float, float, float]

MACHADO: dict[str, tuple[Rgb, Rgb, Rgb]] = {
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900),
    ),
}  # fmt: skip


def linear(colour: str) -> Rgb:
    """`#rrggbb` -> linear RGB, each 0 to 1."""
    def one(at: int) -> float:
        value = int(colour[at : at + 2], 16) / 255
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    return one(1), one(3), one(5)


def luminance(colour: str) -> float:
    red, green, blue = linear(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """1 to 21."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def seen(colour: str, by: str = "") -> Rgb:
    """Linear RGB as somebody with this deficiency sees it."""
    rgb = linear(colour)
    if not by:
        return rgb
    return tuple(  # type: ignore[return-value]
        min(1.0, max(0.0, sum(w * v for w, v in zip(row, rgb, strict=True)))) for row in MACHADO[by]
    )


def lab(rgb: Rgb) -> Rgb:
    red, green, blue = rgb
    x = (0.4124564 * red + 0.3575761 * green + 0.1804375 * blue) / 0.95047
    y = 0.2126729 * red + 0.7151522 * green + 0.0721750 * blue
    z = (0.0193339 * red + 0.1191920 * green + 0.9503041 * blue) / 1.08883

    def f(t: float) -> float:
        return float(t ** (1 / 3)) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116

    return 116 * f(y) - 16, 500 * (f(x) - f(y)), 200 * (f(y) - f(z))


def distance(one: str, other: str, by: str = "") -> float:
    a, b = lab(seen(one, by)), lab(seen(other, by))
    return sum((u - v) ** 2 for u, v in zip(a, b, strict=True)) ** 0.5
