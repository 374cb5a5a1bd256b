"""Raw samples on disk while a song is made: one file per item, so that memory does not grow with the song."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from .pcm import CHANNELS

_ABANDONED_SECONDS = 24 * 3600


class Spool:
    """A folder with the samples of one attempt at a song; leaving the context deletes it.

    Files hold float32, frame after frame, left before right. Disk work runs off the event loop.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._frames: dict[int, int] = {}

    async def __aenter__(self) -> Self:
        try:
            await _to_its_end(partial(self._folder.mkdir, parents=True))
        except asyncio.CancelledError:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await _to_its_end(partial(shutil.rmtree, self._folder, ignore_errors=True))

    async def write(self, item: int, offset: int, pcm: npt.NDArray[np.float32]) -> None:
        """Append `pcm` [2, n] to an item; ValueError unless it begins at sample `offset` = what is there already."""
        end = self._frames.get(item, 0)
        if pcm.ndim != 2 or pcm.shape[0] != CHANNELS or offset != end:
            raise ValueError(f"item {item}: samples {pcm.shape} at {offset} do not continue {end}")
        await _to_its_end(partial(self._append, item, pcm))
        self._frames[item] = offset + pcm.shape[1]

    def file(self, item: int) -> Path:
        return self._folder / f"{item}.f32"

    def frames(self, item: int) -> int:
        return self._frames.get(item, 0)

    def _append(self, item: int, pcm: npt.NDArray[np.float32]) -> None:
        with self.file(item).open("ab") as target:
            target.write(np.ascontiguousarray(pcm.T, dtype="<f4").data)


async def _to_its_end(work: Callable[[], None]) -> None:
    """`work` in a thread; who is cancelled meanwhile waits for it, so that nothing writes what is deleted next."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait((running,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        running.exception()
        raise cancelled
    running.result()


def discard(folder: Path, prefix: str) -> None:
    """Delete the spools whose names begin with `prefix`: earlier attempts whose process was killed."""
    for old in folder.glob(f"{prefix}*"):
        shutil.rmtree(old, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Delete what a killed process left behind: spools that nobody has written to for a day."""
    for old in folder.iterdir():
        with contextlib.suppress(OSError):
            if old.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                shutil.rmtree(old)
