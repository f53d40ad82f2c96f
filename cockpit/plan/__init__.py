"""Pure functions: (expected, actual, intent, now) -> plan."""
