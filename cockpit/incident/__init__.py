"""Incident bundles: what was the case, for somebody who was not there, without its secrets."""
