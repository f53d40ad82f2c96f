"""Actions that operators define themselves: argument lists over a selection, run here or on the hosts."""
