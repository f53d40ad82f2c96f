"""The controller of one cluster."""
