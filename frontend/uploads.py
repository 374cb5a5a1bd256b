"""Uploaded files: on disk under random names from their first byte until the job that they belong to has ended."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

from .audio.decode import FORMATS, Floats, UnreadableAudio
from .audio.keep import abandoned, delete, sync
from .audio.pcm import SAMPLE_RATE
from .audio.sandbox import AT_A_TIME, Sandbox, Stopped
from .errors import RequestError
from .jobs.job import Upload

T = TypeVar("T")
_SOURCE = "src_audio"
FIELDS = (_SOURCE, "reference_audio")
_SHORTEST_SECONDS = 0.1  # of a source; a reference is repeated until it is long enough
_BLOCK = 1 << 20
_SHOWN = 80  # characters of a name
_NAMELESS = "a file without a field name"


@dataclass(frozen=True)
class Files:
    """The files that came with a request: `uploads` by field, the `names` that they were sent by.

    `strangers` are the names of those that no field takes.
    """

    uploads: Mapping[str, Upload] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    strangers: tuple[str, ...] = ()

    def called(self, field: str) -> str:
        """The name by which the file of `field` was sent."""
        return self.names.get(field, field)


class Uploads:
    """The folder of uploads; decodes at most AT_A_TIME files at once, off the event loop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sandbox = Sandbox()
        self._threads = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="decode")

    def open(self) -> None:
        """Make the folder; only its owner may look inside."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def close(self) -> None:
        """Give up what is being decoded."""
        self._sandbox.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def intake(self) -> Intake:
        """Room for the files of one request."""
        return Intake(self, self._folder)

    async def measure(self, path: Path) -> int:
        """Samples at 48 kHz in a file. Errors: UnreadableAudio."""
        return await self._run(lambda: self._sandbox.measure(path))

    async def load(self, upload: Upload) -> Floats:
        """The samples [2, n] of an upload. Errors: UnreadableAudio, also when the file is gone."""
        path = self._folder / upload.file
        if not path.exists():
            raise UnreadableAudio("is gone from the server's disk")
        return await self._run(lambda: self._sandbox.load(path, upload.samples))

    async def discard(self, uploads: Iterable[Upload]) -> None:
        """Delete the files."""
        if names := [upload.file for upload in uploads]:
            await asyncio.to_thread(delete, self._folder, names)

    async def sweep(self, wanted: Callable[[], Awaitable[Iterable[Upload]]]) -> None:
        """Delete what no job wants and nobody has written to for an hour; a request that is being read may want it."""
        old = await asyncio.to_thread(abandoned, self._folder)
        kept = {upload.file for upload in await wanted()}  # asked after the listing, so that no new job is missed
        await asyncio.to_thread(delete, self._folder, [name for name in old if name not in kept])

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


class Intake:
    """The files of one request, by field; leaving the context deletes those that `save` did not name.

    A request that fails after `save` calls `drop`. One that is cancelled there leaves its files to the sweep, because
    their job may exist by then.
    """

    def __init__(self, uploads: Uploads, folder: Path) -> None:
        self._uploads = uploads
        self._folder = folder
        self._files: dict[str, Path] = {}
        self._names: dict[str, str] = {}
        self._strangers: dict[str, None] = {}
        self._sinks: list[Sink] = []
        self._saved: frozenset[str] = frozenset()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sinks:
            unsaved = [path.name for path in self._files.values() if path.name not in self._saved]
            await asyncio.to_thread(self._clear, unsaved)

    def receive(self, field: str, called: str = "") -> Sink:
        """A new file for `field`, which the client calls otherwise, if so; 400 for a second one."""
        if field in self._files:
            raise RequestError(400, f"{field}: only one file is taken")
        path = self._files[field] = self._folder / uuid.uuid4().hex
        self._names[field] = called or field
        self._sinks.append(sink := Sink(path))
        return sink

    def pass_over(self, name: str) -> None:
        """Keep in mind that a file came by a name that no field has, as one short line of text that can be seen."""
        seen = "".join(char if char.isprintable() else " " for char in name)
        self._strangers[" ".join(seen.split())[:_SHOWN] or _NAMELESS] = None

    @property
    def received(self) -> Collection[str]:
        """The fields that have a file."""
        return self._files.keys()

    async def settle(self, wanted: Mapping[str, str]) -> None:
        """Give the files of `wanted` their fields, by what they were received as; the others are deleted."""
        kept = {field: self._files[name] for field, name in wanted.items()}
        if unwanted := [path.name for path in self._files.values() if path not in kept.values()]:
            await asyncio.to_thread(delete, self._folder, unwanted)
        self._files, self._names = kept, {}

    async def measure(self) -> dict[str, Upload]:
        """What was received, by field; 400 naming the field of a file that cannot be used."""
        return {field: Upload(path.name, await self._measure(field, path)) for field, path in self._files.items()}

    async def files(self) -> Files:
        """What was received, and what the client calls it. Errors as `measure`."""
        return Files(await self.measure(), dict(self._names), tuple(self._strangers))

    async def digests(self) -> dict[str, str]:
        """SHA-256 of what was received, by field."""
        return {field: await asyncio.to_thread(_digest, path) for field, path in sorted(self._files.items())}

    async def save(self, uploads: Iterable[Upload]) -> None:
        """Put these files on disk for good: after this they survive a power cut, and the context."""
        names = frozenset(upload.file for upload in uploads)
        if names:
            await asyncio.to_thread(sync, *(self._folder / name for name in names), self._folder)
        self._saved = names

    def drop(self) -> None:
        """Take `save` back."""
        self._saved = frozenset()

    def _clear(self, names: Iterable[str]) -> None:
        for sink in self._sinks:
            sink.abandon()
        delete(self._folder, names)

    async def _measure(self, field: str, path: Path) -> int:
        if not path.stat().st_size:
            raise RequestError(400, f"{field}: is empty; it must be {FORMATS}")
        try:
            samples = await self._uploads.measure(path)
        except UnreadableAudio as error:
            raise RequestError(400, f"{field}: {error}") from None
        except Stopped:
            raise RequestError(503, "The server is stopping", {"Retry-After": "5"}) from None
        if field == _SOURCE and samples < _SHORTEST_SECONDS * SAMPLE_RATE:
            raise RequestError(400, f"{field}: is shorter than {_SHORTEST_SECONDS} seconds")
        return samples


class Sink:
    """One file being received."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._pending = bytearray()

    async def write(self, data: bytes) -> None:
        """Append; it goes to disk a megabyte at a time, off the event loop."""
        self._pending += data
        if len(self._pending) >= _BLOCK:
            await self._flush()

    async def close(self) -> None:
        """Write the rest."""
        await self._flush()
        await asyncio.to_thread(self._file.close)

    def abandon(self) -> None:
        """Close without the rest; a write that still runs is waited for."""
        self._file.close()

    async def _flush(self) -> None:
        block, self._pending = self._pending, bytearray()
        await asyncio.to_thread(self._file.write, block)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
