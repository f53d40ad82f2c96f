"""The chooser's process: `python -I -m cockpit.swarm.node origin ...`. A relay's is `cockpit.relay`."""

from __future__ import annotations

import argparse
import sys
from typing import List, Optional

from cockpit.swarm import origin


def main(argv: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="cockpit.swarm.node", description="A node that others fetch from.")
    kinds = parser.add_subparsers(dest="kind", required=True)
    sub = kinds.add_parser("origin")
    origin.add_arguments(sub)
    sub.set_defaults(run=origin.run)
    args = parser.parse_args(argv)
    return int(args.run(args))


if __name__ == "__main__":
    sys.exit(main())
