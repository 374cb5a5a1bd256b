"""The models that are slow to start and not needed for a first song: loaded and watched beside everything else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from embedded.server import Server
from embedded.stubs import StubProcess
from embedded.triton_control import TritonError

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 600.0
STEADY = 60.0  # a model that was ready for so many seconds is loaded again without a pause


@dataclass
class _Late:
    """One model: its living stub, since when it is ready, and when and why it is loaded again."""

    name: str
    stub: StubProcess | None = None
    ready_at: float = 0.0
    not_before: float = 0.0
    pause: float = FIRST_PAUSE
    why: str = ""

    def wait(self) -> float:
        """Puts the next try off; seconds until then, each time twice as long."""
        pause, self.pause = self.pause, min(2 * self.pause, LONGEST_PAUSE)
        self.not_before = time.monotonic() + pause
        return pause


@dataclass
class _Load:
    """One try, in a thread of its own: it takes half a minute or more. `error` is None when it came to a good end."""

    model: _Late
    started: float
    thread: threading.Thread
    error: Exception | None = None


class LateModels:
    """Those of one server; `look` never waits. One is loaded at a time, and a failure stops nothing else."""

    def __init__(self, server: Server, say: Callable[[str], None]) -> None:
        self._server = server
        self._say = say
        self._models = [_Late(model.name) for model in server.plan.late]
        self._load: _Load | None = None

    def look(self) -> None:
        """One round: what has come of a load, who has died, what is loaded next."""
        if self._load and not self._load.thread.is_alive():
            self._take(self._load)
            self._load = None
        for model in self._models:
            if model.stub and self._server.stub_of(model.name) != model.stub:
                self._bury(model)
        if self._load is None:
            waiting = [model for model in self._models if model.stub is None and model.not_before <= time.monotonic()]
            if waiting:
                self._begin(waiting[0])

    def _begin(self, model: _Late) -> None:
        thread = threading.Thread(target=self._run, name=f"load {model.name}", daemon=True)
        self._load = _Load(model, time.monotonic(), thread)
        thread.start()

    def _run(self) -> None:
        load = self._load
        assert load is not None
        try:
            self._server.load_late(load.model.name)
        except (TritonError, ValueError) as error:  # ValueError: the channel was closed under it
            load.error = error

    def _take(self, load: _Load) -> None:
        model, seconds = load.model, time.monotonic() - load.started
        if load.error is None:
            model.stub = self._server.stub_of(model.name)
        if model.stub is None:
            reason = load.error or "its stub died"
            self._say(f"{model.name} does not load: {reason}; next try in {model.wait():.0f} s")
            return
        model.ready_at = time.monotonic()
        self._say(f"{model.name} ready after {seconds:.1f} s{model.why}")

    def _bury(self, model: _Late) -> None:
        self._server.retire(model.name)
        model.stub, model.why = None, " (its stub had died)"
        pause = 0.0
        if time.monotonic() - model.ready_at > STEADY:
            model.pause, model.not_before = FIRST_PAUSE, 0.0
        else:
            pause = model.wait()
        self._say(f"{model.name}: its stub died; loading it again{f' in {pause:.0f} s' if pause else ''}")
