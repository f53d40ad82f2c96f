"""Measure what can be measured and print the table of budgets.

python -m tests.bench [ROW ...]     rows by the start of their key; all of them without
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
import time
import traceback

from tests.bench import table

MODULES = (
    "delta", "drift", "fanout", "flood", "graph", "history", "hub", "keeper", "late", "live", "paint", "push",
    "quiet", "score", "screens", "told", "twin",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help="start of a key; without, every row")
    parser.add_argument("--list", action="store_true", help="print the keys and end")
    options = parser.parse_args()
    for name in MODULES:
        importlib.import_module(f"tests.bench.{name}")
    keys = [k for k in table.BUDGETS if not options.rows or k.startswith(tuple(options.rows))]
    if not keys:
        parser.error(f"no row starts with {', '.join(options.rows)}; there are {', '.join(table.BUDGETS)}")
    if options.list:
        print(*keys, sep="\n")
        return 0
    failed = False
    rows = []
    for key in keys:
        measure = table.ready(key)
        figure, note, why = None, "not yet", ""
        if measure is not None:
            print(f"measuring {table.BUDGETS[key].what} ...", file=sys.stderr, flush=True)
            start = time.monotonic()
            try:
                note = "not here"
                figure = measure()
            except table.Lacking as e:
                why = str(e)
            except Exception:
                traceback.print_exc()
                failed, note = True, "failed"
            print(f"  {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
        rows.append(table.row(key, figure, note, why))
    print(*table.lines(rows), sep="\n")
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(f"\n{machine}; medians of several runs.")
    return 1 if failed else 0


sys.exit(main())
