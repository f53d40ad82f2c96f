"""Artifacts at the source: made, signed, kept."""
