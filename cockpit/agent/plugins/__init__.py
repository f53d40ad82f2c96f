"""Plug-ins: words that run in processes of their own, and what keeps those processes."""
