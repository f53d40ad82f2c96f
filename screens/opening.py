"""Python's collector rests from the import of Textual to the first picture.

What is made while the screens open stays until they close: looking it through for garbage again and
again was a tenth of the time until the operator saw something. Import this before Textual.
"""

from __future__ import annotations

import gc

_resting = False


def rest() -> None:
    """Collect nothing until `work`; no change when somebody else has turned the collector off."""
    global _resting
    if gc.isenabled():
        gc.disable()
        _resting = True


def work(keep: bool = False) -> None:
    """Collect again; with `keep`, never look at what exists now: it will be needed to the end."""
    global _resting
    if _resting:
        _resting = False
        if keep:
            gc.freeze()
        gc.enable()


rest()
