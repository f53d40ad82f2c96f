"""Guard rails: what an action may do, decided by rules that are data. Pure: time comes in as an argument."""
