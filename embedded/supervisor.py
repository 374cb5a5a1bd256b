"""Keeps a running stack running: looks for what died and brings it back."""

from __future__ import annotations

import time
from collections.abc import Callable

from embedded.canary import Canary
from embedded.child import Child
from embedded.deaths import Deaths
from embedded.late_models import LateModels
from embedded.refusal import Refusal
from embedded.server import Server
from embedded.triton_control import TritonError

INTERVAL = 0.5
CANARY_PATIENCE = 12.0  # seconds of silence: two pings with their deadlines; a busy pipeline answers within one
PIPELINE = "acestep"


class Supervised:
    """The parts that are watched; the callables start a new one in the place of a dead one."""

    def __init__(
        self, server: Server, frontend: Child | None,
        new_server: Callable[[], Server], new_frontend: Callable[[], Child],
    ) -> None:
        self.server = server
        self.frontend = frontend
        self.new_server = new_server
        self.new_frontend = new_frontend


class Supervisor:
    """Looks twice a second; everything it starts is started from the caller's thread."""

    def __init__(self, parts: Supervised, address: str, say: Callable[[str], None]) -> None:
        self._parts = parts
        self._address = address
        self._say = say
        self._server_deaths = Deaths("Triton")
        self._frontend_deaths = Deaths("the frontend")
        self._retry: dict[str, tuple[float, float]] = {}  # model: (not before, pause after the next failure)
        self._canary = self._new_canary()
        self._late = LateModels(parts.server, say)

    def _new_canary(self) -> Canary | None:
        return Canary(self._address) if PIPELINE in {m.name for m in self._parts.server.plan.models} else None

    def watch(self, check: Callable[[], None]) -> None:
        """Until an exception: Refusal when something keeps dying, or whatever `check` or a signal handler raises."""
        try:
            while True:
                check()
                self.look()
                time.sleep(INTERVAL)
        finally:
            self._close_canary()

    def look(self) -> None:
        """One round: server, stubs, canary, frontend, what is loaded late."""
        parts = self._parts
        if parts.server.child.exit_code is not None:
            self._restart_server()
        for model in parts.server.crippled():
            self._revive(model, "its stub died")
        if self._canary and self._canary.silent_for() > CANARY_PATIENCE:
            self._revive(PIPELINE, f"no answer to pings ({self._canary.complaint})")
            self._canary.forgive()
        if parts.frontend and parts.frontend.exit_code is not None:
            self._restart_frontend(parts.frontend)
        self._late.look()

    def _revive(self, model: str, why: str) -> None:
        not_before, pause = self._retry.get(model, (0.0, 1.0))
        if time.monotonic() < not_before:
            return
        started = time.monotonic()
        try:
            self._parts.server.revive(model)
        except TritonError as error:
            self._retry[model] = (time.monotonic() + pause, min(2 * pause, 30.0))
            self._say(f"{model}: {why}; it does not load again: {error}; next try in {pause:.0f} s")
            return
        self._retry.pop(model, None)
        if model == PIPELINE and self._canary:
            self._canary.forgive()
        self._say(f"{model}: {why}; loaded again in {time.monotonic() - started:.1f} s")

    def _restart_server(self) -> None:
        dead = self._parts.server
        how = f"exit code {dead.child.exit_code}"
        self._close_canary()
        dead.stop()
        while True:
            self._say(f"Triton died ({how}): starting it again")
            time.sleep(self._server_deaths.record(how))
            try:
                self._parts.server = self._parts.new_server()
            except Refusal as refusal:
                how = str(refusal)
            else:
                break
        self._retry.clear()
        self._canary = self._new_canary()
        self._late = LateModels(self._parts.server, self._say)
        late = ", ".join(model.name for model in self._parts.server.plan.late)
        self._say(f"Triton is back, all models loaded{f' but {late}' if late else ''}")

    def _restart_frontend(self, dead: Child) -> None:
        how = f"exit code {dead.exit_code}, log: {dead.spec.log}"
        self._say(f"the frontend died ({how}): starting it again")
        time.sleep(self._frontend_deaths.record(how))
        dead.kill()
        self._parts.frontend = self._parts.new_frontend()

    def _close_canary(self) -> None:
        if self._canary:
            self._canary.close()
            self._canary = None
