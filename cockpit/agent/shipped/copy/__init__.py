"""Shipped plug-in: copy."""
