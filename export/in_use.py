"""Which processes work with the files of a folder."""

import contextlib
import os
from pathlib import Path


def users(folder: Path) -> list[int]:
    """Pids of the processes whose command line names a file below the folder, as servers and their models' do."""
    needle = os.fsencode(folder.resolve()) + b"/"
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):  # gone meanwhile
                if needle in Path(entry.path, "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found
