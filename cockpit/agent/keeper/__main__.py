"""Starts the keeper, from the package or from its bare directory (`python -I -S DIRECTORY`)."""

import os
import sys

SUBREAPER = "--subreaper"
"""Last argument: this process is one already."""


def _main() -> int:
    if __package__:
        from cockpit.agent.keeper.proc import become_subreaper
        from cockpit.agent.keeper.service import main

        become_subreaper()
        return main(sys.argv[1:], [sys.executable, "-I", "-m", __package__])
    # A bare directory: it becomes a package of its own, so that its modules shadow nobody's.
    directory = sys.path.pop(0)
    sys.path.append(os.path.dirname(os.path.abspath(directory)))
    arguments = sys.argv[1:]
    program = [sys.executable, "-I", "-S", directory]
    if arguments[:1] == ["--check"]:  # does it start at all? It must not become anything first
        return int(__import__("keeper.service", fromlist=["service"]).main(arguments, program))
    if arguments[-1:] != [SUBREAPER]:
        # It takes ctypes, which would stay in memory (0.8 MiB); what it sets stays over an exec.
        __import__("keeper.proc", fromlist=["proc"]).become_subreaper()
        cache = f"__pycache__/service.{sys.implementation.cache_tag}.pyc"
        if not os.path.exists(os.path.join(directory, cache)):
            __import__("keeper.service")  # so does the compiler, which the first start needs
        os.execv(sys.executable, [*program, *arguments, SUBREAPER])
    module = __import__("keeper.service", fromlist=["service"])
    return int(module.main(arguments[:-1], program))


if __name__ == "__main__":
    sys.exit(_main())
