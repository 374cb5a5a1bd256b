"""Files on the server that a request may name: below one folder of the operator's, and nowhere else."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from typing import BinaryIO

from frontend.errors import RequestError
from frontend.fields import Fields
from frontend.uploads import FIELDS, Intake, Sink

_BLOCK = 1 << 20


async def take_paths(fields: Fields, intake: Intake, root: Path | None, limit: int) -> None:
    """Copy the files that `src_audio_path` and `reference_audio_path` name to `intake`; an upload wins over its path.

    `limit` is in bytes. Errors: RequestError 400, which tells nothing of what lies outside of `root`.
    """
    for field in FIELDS:
        path = fields[f"{field}_path"]
        if not path or field in intake.received:
            continue
        name = fields.called(f"{field}_path")
        if root is None:
            raise RequestError(400, f"{name}: paths are not allowed on this server; upload the file as {field}")
        file = await asyncio.to_thread(open_below, root, path)
        if file is None:
            raise RequestError(400, f"{name}: there is no such file below the server's audio folder")
        with file:
            if os.fstat(file.fileno()).st_size > limit:
                raise RequestError(400, f"{name}: is too large: at most {limit} bytes")
            await _copy(file, intake.receive(field, name), limit)


def open_below(root: Path, text: str) -> BinaryIO | None:
    """The regular file `text`, relative to `root` or absolute, opened; None unless it is really below `root`."""
    try:
        base = root.resolve(strict=True)
        path = (base / text).resolve(strict=True)
        if not path.is_relative_to(base):
            return None
        # Not blocked by a pipe, not led elsewhere by a link that has taken the file's place since.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError, RuntimeError):
        return None
    if stat.S_ISREG(os.fstat(handle).st_mode) and os.readlink(f"/proc/self/fd/{handle}") == str(path):
        return os.fdopen(handle, "rb")
    os.close(handle)
    return None


async def _copy(file: BinaryIO, sink: Sink, limit: int) -> None:
    left = limit
    while left > 0 and (data := await asyncio.to_thread(file.read, min(_BLOCK, left))):
        left -= len(data)
        await sink.write(data)
    await sink.close()
