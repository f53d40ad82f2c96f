"""The Textual face of Cockpit: one file per screen.

Textual reads these two variables when it is first imported, so they are set before any module
here imports it: at its own 60 frames a second a key that follows a repaint waits for the next
frame, and an animated scroll writes five times the bytes.
"""

import os

os.environ.setdefault("TEXTUAL_FPS", "240")
os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
