"""Shipped plug-in: metrics."""
