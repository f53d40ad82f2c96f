"""Shipped plug-in: schedule."""
