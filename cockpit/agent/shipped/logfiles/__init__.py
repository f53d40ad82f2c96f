"""Shipped plug-in: logfiles."""
