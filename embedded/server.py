"""One Triton server with its models: started, loaded, reloaded, stopped."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from embedded import orphans, shm, stubs
from embedded.child import Child, ChildSpec
from embedded.identity import Identity
from embedded.refusal import Refusal
from embedded.repository import ModelFolder
from embedded.stubs import StubProcess
from embedded.triton_control import TritonControl, TritonError
from embedded.triton_process import EXIT_TIMEOUT

LIVE_TIMEOUT = 60.0
LOAD_TIMEOUT = 900.0
PARALLEL_LOADS = 4

Report = Callable[[str], None]


class ServerDied(Refusal):
    """The server itself ended while it loaded its models."""


@dataclass(frozen=True)
class ServerPlan:
    """What a server is made of: how to start it, where it answers, what it loads at once and what later."""

    spec: ChildSpec
    address: str
    models: list[ModelFolder]
    identity: Identity
    late: Sequence[ModelFolder] = ()


class Server:
    """The running server; `expected` is the stubs it had when its models were loaded."""

    def __init__(self, plan: ServerPlan) -> None:
        self.plan = plan
        self.child = Child(plan.spec, plan.identity)
        self.control = TritonControl(plan.address)
        self.expected: list[StubProcess] = []

    def wait_live(self) -> None:
        """Until it answers; Refusal with the log's last complaint if it ends or stays silent."""
        deadline = time.monotonic() + LIVE_TIMEOUT
        while not self.control.live():
            if self.child.exit_code is not None:
                raise Refusal(f"Triton ended at start: {last_error(self.plan.spec.log)} (log: {self.plan.spec.log})")
            if time.monotonic() > deadline:
                raise Refusal(f"Triton does not answer after {LIVE_TIMEOUT:.0f} s (log: {self.plan.spec.log})")
            time.sleep(0.02)

    def load_all(self, report: Report) -> None:
        """Load every model, those an ensemble is made of first; Refusal names the first one that does not load."""
        for ensembles in (False, True):
            group = [model.name for model in self.plan.models if model.ensemble is ensembles]
            if not group:
                continue
            started = time.monotonic()
            with ThreadPoolExecutor(PARALLEL_LOADS) as pool:
                futures = {pool.submit(self.control.load, name, LOAD_TIMEOUT): name for name in group}
                try:
                    for future in as_completed(futures):
                        self._loaded(futures[future], future.exception())
                        report(f"{futures[future]} ready after {time.monotonic() - started:.1f} s")
                except BaseException:
                    self.child.kill()  # a load call ends with its server, so the pool does too
                    raise
        self.expected = stubs.running(self.child.pid)

    def _loaded(self, name: str, error: BaseException | None) -> None:
        if isinstance(error, TritonError):
            deadline = time.monotonic() + 1.0  # a dying server answers no more before its process has ended
            while not self.control.live() and time.monotonic() < deadline:
                if self.child.exit_code is not None:
                    how = f"exit code {self.child.exit_code}, log: {self.plan.spec.log}"
                    raise ServerDied(f"Triton died while it loaded {name} ({how})")
                time.sleep(0.02)
            raise Refusal(f"model {name} does not load: {error} (log: {self.plan.spec.log})")
        if error is not None:
            raise error

    def crippled(self) -> list[str]:
        """Models with fewer living stubs than after loading."""
        alive = stubs.counts(stubs.running(self.child.pid))
        return sorted(name for name, count in stubs.counts(self.expected).items() if alive[name] < count)

    def revive(self, name: str) -> None:
        """Bring a model with a dead or hung stub back; TritonError if it does not load.

        Triton neither restarts a stub nor reloads a model whose files are as old as they were (a newer config.pbtxt
        alone only changes the number of instances): the file that the stub served is touched. In a repository that
        cannot be written to, the model is unloaded first, which takes seconds longer.
        """
        stubs.kill(stubs.running(self.child.pid), name)
        try:
            for stub in self.expected:
                if stub.model == name:
                    stub.file.touch()
        except OSError:
            self.retire(name)
        self.control.load(name, LOAD_TIMEOUT)

    def retire(self, name: str) -> None:
        """Take a model whose stub died out of service: Triton would call it ready until another one is."""
        with contextlib.suppress(TritonError):  # one that is busy with its models is asked again before the next load
            self.control.unload(name)

    def load_late(self, name: str) -> None:
        """Load a model that may have been loaded before, its stub alive or not; TritonError if it does not load."""
        stubs.kill(stubs.running(self.child.pid), name)
        orphans.end(lambda: orphans.strays(self.plan.identity))
        if self.control.ready(name):
            self.control.unload(name)
        self.control.load(name, LOAD_TIMEOUT)

    def stub_of(self, name: str) -> StubProcess | None:
        """The living stub of a model with one instance."""
        return next((stub for stub in stubs.running(self.child.pid) if stub.model == name), None)

    def stop(self) -> None:
        """Orderly if it can be had, forced if not; no process and no shared memory of it remains."""
        self.control.close()
        self.child.terminate(EXIT_TIMEOUT + 2.0)
        orphans.end(lambda: orphans.group(self.child.pid))
        self.child.kill()
        shm.clean(self.plan.identity.shm_prefix)


def last_error(log: Path) -> str:
    """The last line of a Triton log that complains, without its time stamp; the last line if none does."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "no log"
    complaints = [line for line in lines if line.startswith(("error:", "E")) and "CudaDriverHelper" not in line]
    text = (complaints or [line for line in lines if line.strip()] or ["nothing in its log"])[-1]
    return " ".join(text.split())[:300]
