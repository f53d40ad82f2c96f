"""Shipped plug-in: shell."""
