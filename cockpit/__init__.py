"""Cockpit: expected and actual side by side, for operators of plain Linux hosts."""

__version__ = "0.1.0"
