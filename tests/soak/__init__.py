"""An hour of live load on the real screens; `python -m tests.soak`."""
