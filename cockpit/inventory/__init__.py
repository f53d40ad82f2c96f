"""Inventories of other tools, and what runs on hosts already, as a topology file."""
