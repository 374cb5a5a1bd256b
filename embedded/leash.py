"""Starts a command that follows the launcher into death: `python -I -S leash.py <signal> <parent pid> <command...>`.

A child set up this way gets the signal when the launcher dies, by `kill -9` too. It is a program of its own, not a
preexec function, because the launcher has threads (gRPC) and Python code between fork and exec can deadlock then.
The kernel ties the signal to the *thread* that started the child: the launcher starts all from its main thread.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(arguments: list[str]) -> None:
    """Sets the parent-death signal, then becomes the command."""
    number, parent, command = int(arguments[0]), int(arguments[1]), arguments[2:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # the launcher died before the signal was armed
        sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
