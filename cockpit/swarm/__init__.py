"""Artifacts on the way: manifests, pieces, peers, relays, installing. Standard library only, Python 3.9."""
