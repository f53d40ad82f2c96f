"""The registry of endpoints and the client that programs use."""
