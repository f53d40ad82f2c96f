"""Editing what is expected as text: one node's piece of the head, checked, put back, merged when the head moved."""
