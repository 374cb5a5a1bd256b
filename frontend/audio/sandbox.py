"""Decoding in child processes with limits: the parent takes numbers and samples from them, and nothing else.

Each decodes one file. From the first file on the next children are started before there is work for them: an
interpreter with its libraries takes a quarter of a second, longer than most files do.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, Self

import numpy as np

from .child import SECONDS, UNREADABLE
from .decode import UNREADABLE as ANYTHING_ELSE
from .decode import Floats, UnreadableAudio
from .pcm import CHANNELS

log = logging.getLogger(__name__)
_ROOT = Path(__file__).resolve().parent.parent.parent
_WALL_SECONDS = 3.0 * SECONDS
_FRAME = CHANNELS * 4
_BLOCK = 1 << 18  # frames
_LONGEST_REASON = 300
AT_A_TIME = 2  # files that are decoded, and children that wait for the next ones


class Stopped(Exception):
    """The decoding was given up before its end."""


class Sandbox:
    """Children that decode; all methods block, and may be called from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._children: set[Child] = set()
        self._spares: deque[Child] = deque()
        self._closed = False

    def measure(self, path: Path) -> int:
        """Samples at 48 kHz in a file. Errors: UnreadableAudio, Stopped."""
        with self._start("measure", path) as child:
            text = child.output.read(32)
            child.settle()
        return int(text)

    def load(self, path: Path, samples: int) -> Floats:
        """The `samples` of a measured file as float32 [2, samples]. Errors: UnreadableAudio, Stopped."""
        audio = np.empty((CHANNELS, samples), np.float32)
        at = 0
        with self._start("load", path) as child:
            while at < samples and (data := child.output.read(min(_BLOCK, samples - at) * _FRAME)):
                frames = np.frombuffer(data, "<f4", len(data) // _FRAME * CHANNELS).reshape(-1, CHANNELS)
                audio[:, at : at + len(frames)] = frames.T
                at += len(frames)
            if is_longer := bool(child.output.read(1)):
                child.kill()
            else:
                child.settle()
        if is_longer or at != samples:
            raise UnreadableAudio("is not the file it was")
        return audio

    def close(self) -> None:
        """Give up what is being decoded."""
        with self._lock:
            self._closed = True
            for child in self._children:
                child.kill()
            for spare in self._spares:
                spare.end()
            self._spares.clear()

    def _start(self, mode: str, path: Path) -> Child:
        with self._lock:
            if self._closed:
                raise Stopped
            child = self._next(mode, path)
            self._children.add(child)
            while len(self._spares) < AT_A_TIME:
                self._spares.append(Child(self._forget))
        return child

    def _next(self, mode: str, path: Path) -> Child:
        """A child at work; spares that somebody has killed are passed over."""
        while self._spares:
            spare = self._spares.popleft()
            if spare.give(mode, path):
                return spare
            spare.end()
        child = Child(self._forget)
        child.give(mode, path)
        return child

    def _forget(self, child: Child) -> bool:
        """Drop an ended child; whether `close` may have ended it."""
        with self._lock:
            self._children.discard(child)
            return self._closed


class Child:
    """One process, for one file; leaving the context ends it."""

    def __init__(self, forget: Callable[[Child], bool]) -> None:
        # Its environment holds no key of ours; one thread, because OpenBLAS sets memory aside for each.
        env = {"PYTHONPATH": str(_ROOT), "OPENBLAS_NUM_THREADS": "1"}
        env |= {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "frontend.audio.child"], env=env, cwd="/",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._alarm = threading.Timer(_WALL_SECONDS, self._process.kill)
        self._alarm.daemon = True
        self._forget = forget

    def give(self, mode: str, path: Path) -> bool:
        """Tell it what to do; False if it has ended."""
        assert self._process.stdin is not None
        self._alarm.start()
        try:
            with self._process.stdin as order:
                order.write(f"{mode}\n".encode() + os.fsencode(path.absolute()))
        except BrokenPipeError:
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._forget(self)

    def end(self) -> None:
        """Ends the process and what belongs to it."""
        self._alarm.cancel()
        self.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    @property
    def output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def kill(self) -> None:
        self._process.kill()

    def settle(self) -> None:
        """Wait for the end of a child that has said everything. Errors: UnreadableAudio, Stopped."""
        assert self._process.stderr is not None
        said = self._process.stderr.read(10_000).decode(errors="replace").strip()
        code = self._process.wait()
        if code == 0:
            return
        if self._forget(self):
            raise Stopped
        if code == UNREADABLE and said:
            raise UnreadableAudio(said.splitlines()[-1][:_LONGEST_REASON])
        log.warning("a file could not be decoded: exit code %d: %s", code, said)
        # SIGKILL comes from the alarm, or from the kernel at the hard limit of processor time.
        if code in (-signal.SIGXCPU, -signal.SIGKILL):
            raise UnreadableAudio("takes too long to decode")
        raise UnreadableAudio(ANYTHING_ELSE)
