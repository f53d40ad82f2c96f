"""The recorded state history: every change of the rows on disk, and any moment of it back. See docs/history.md."""
