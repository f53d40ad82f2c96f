"""Expected and actual as typed immutable data. No I/O, no clock."""
