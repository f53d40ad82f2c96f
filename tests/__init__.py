"""The checks: they mirror the tree. `house` holds the rules of the house, `bench` measurements."""
