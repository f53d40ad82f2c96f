"""Becomes the shell: takes the terminal, the user and the directory, then its program. Run as a file of its own:

    python -I -S -B child.py STATUS TTY UID GID GROUPS DIRECTORY PROGRAM ARGV0 ARGS...

STATUS is a descriptor that closes when the program has begun, or gets a sentence. TTY is 1 where standard input is a
terminal. UID, GID and GROUPS (with commas) are empty where nothing changes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import sys
import termios
from typing import List

NOT_BEGUN = 127


def main(words: List[str]) -> None:
    status, tty, uid, gid, groups, directory, program = words[:7]
    what = "the terminal"
    try:
        os.set_inheritable(int(status), False)
        if tty == "1":
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        if uid:
            what = f"user {uid}"
            os.setgroups([int(g) for g in groups.split(",") if g])
            os.setgid(int(gid))
            os.setuid(int(uid))
        what = directory
        os.chdir(directory)
        os.umask(0o022)
        for number in signal.valid_signals():  # Python ignores some, and what is ignored stays so in the program
            if number not in (signal.SIGKILL, signal.SIGSTOP):
                try:
                    signal.signal(number, signal.SIG_DFL)
                except (OSError, ValueError):
                    pass
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        what = program
        os.execvp(program, words[7:])
    except OSError as e:
        os.write(int(status), f"{errno.errorcode.get(e.errno or 0, str(e.errno))} {what}".encode()[:1000])
    os._exit(NOT_BEGUN)


if __name__ == "__main__":
    main(sys.argv[1:])
