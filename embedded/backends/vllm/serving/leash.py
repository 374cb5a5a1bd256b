#!/usr/bin/env python3
"""The interpreter as vLLM's first process is started with it: a `kill -9` of the stub that started it ends it too.

A process that multiprocessing starts for its own housekeeping is no engine: it outlives the others and cleans up.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Becomes the interpreter with the same arguments."""
    if any("spawn_main" in argument for argument in sys.argv[1:]):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(os.environ["ACESTEP_ENGINE_PARENT"]):  # it died before the signal was armed
            sys.exit(1)
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])


if __name__ == "__main__":
    main()
