"""The choosers' processes: `python -I -m cockpit.swarm.node origin ...` and `... node relay ...`."""

from __future__ import annotations

import argparse
import sys
from typing import List, Optional

from cockpit.swarm import origin, relay_main


def main(argv: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="cockpit.swarm.node", description="A node that others fetch from.")
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind, module in (("origin", origin), ("relay", relay_main)):
        sub = kinds.add_parser(kind)
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    args = parser.parse_args(argv)
    return int(args.run(args))


if __name__ == "__main__":
    sys.exit(main())
