"""The relay's process: a region's cache, seeder and tracker, and its agents' way to the controller."""
