"""Colour themes and glyph sets, as data."""
