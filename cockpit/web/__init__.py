"""The screens in a browser: a small server on loopback around Textual's web driver, and its page.

Not textual-serve: version 1.1 starts its command through a shell with the whole environment, has no login, looks
neither at Host nor at Origin, lists its files, loads a font from elsewhere, and draws text on a canvas, where it can
be neither selected nor read aloud.
"""
