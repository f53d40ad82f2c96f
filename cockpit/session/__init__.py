"""The session protocol over a Unix socket: how commands and screens reach a controller."""
