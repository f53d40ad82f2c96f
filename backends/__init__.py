"""Real systems behind the protocols of `cockpit.ports`."""
