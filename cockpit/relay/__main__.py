"""`python -I -m cockpit.relay --dir DIR`."""

import sys

from cockpit.relay.main import main

if __name__ == "__main__":
    sys.exit(main())
