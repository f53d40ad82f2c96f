"""Actions of operators' own."""
