"""The action table, the guard, the executor, the journal and replay."""
