"""`python -m frontend.audio.child`: decodes one file of a client's within limits of its own.

Whatever the file does to the decoder, it does to this process: memory, processor time and files that it may write are
bounded before the file is opened. Standard input says what to do, `measure` or `load`, and in a second line with which
file; until then the process waits, with all that it needs imported. `measure` prints how many samples there are at
48 kHz, `load` writes them, float32, frame after frame. Exit code 3: the file cannot be used, the last line of standard
error says why.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

UNREADABLE = 3
SECONDS = 60
_MEMORY = 512 << 20
_LIMITS = (
    (resource.RLIMIT_AS, _MEMORY), (resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_FSIZE, 0),
    (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 32),
)


def main() -> int:
    from .decode import UnreadableAudio, decode, measure  # the limits hold for its libraries too

    mode, _, name = sys.stdin.buffer.read().partition(b"\n")
    path = Path(os.fsdecode(name))
    try:
        if mode == b"measure":
            print(measure(path))
        elif mode == b"load":
            for block in decode(path):
                sys.stdout.buffer.write(block.tobytes())
    except UnreadableAudio as error:
        print(error, file=sys.stderr)
        return UNREADABLE
    except MemoryError:
        print("needs too much memory", file=sys.stderr)
        return UNREADABLE
    return 0


def silence_libraries() -> None:
    """Only Python writes to standard error from here on. libmpg123 has a line for every bad frame of a tag.

    A parent that reads the samples first would never see the end of them.
    """
    own = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    sys.stderr = os.fdopen(own, "w", buffering=1, errors="backslashreplace")


if __name__ == "__main__":
    silence_libraries()
    for limit, value in _LIMITS:
        resource.setrlimit(limit, (value, value))
    sys.exit(main())
