"""Run by the bench with Salt's own interpreter: CONFIG MINIONS ROUNDS. A line of JSON: milliseconds of each round."""

from __future__ import annotations

import json
import sys
import time


def main(config: str, minions: int, rounds: int) -> None:
    import salt.client  # type: ignore[import-not-found]

    client = salt.client.LocalClient(config)
    found: dict[str, list[float]] = {"ping": [], "true": []}
    for name, word, args in (("ping", "test.ping", []), ("true", "cmd.run", ["/bin/true"])):
        for _ in range(rounds):
            start = time.perf_counter()
            answers = client.cmd("*", word, args, timeout=60)
            found[name].append((time.perf_counter() - start) * 1e3)
            assert len(answers) == minions, f"{len(answers)} of {minions} answered"
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
