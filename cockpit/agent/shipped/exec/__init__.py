"""Shipped plug-in: exec."""
