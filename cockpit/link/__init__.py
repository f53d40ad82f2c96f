"""Frames, identities and the hub that agents connect to."""
