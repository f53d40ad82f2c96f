"""Artifacts: packing, the directory store, and (later) peers."""
