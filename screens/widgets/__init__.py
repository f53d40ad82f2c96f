"""Widgets on the line API: each draws only the lines that are seen."""
