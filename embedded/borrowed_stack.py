"""The stack a command needs: the one that runs, or one started for the command and stopped with it."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

from embedded import stack_file
from embedded.child import Child, ChildSpec
from embedded.exporter import SOURCE_ROOT
from embedded.identity import Identity
from embedded.refusal import Refusal
from frontend.settings import Settings

STOP_GRACE = 20.0  # the launcher's own promise is 15


@contextmanager
def borrow(settings: Settings, say: Callable[[str], None]) -> Iterator[str]:
    """The native API's base URL for as long as the block runs; Refusal if no stack can be had."""
    running = stack_file.read(settings.state)
    if running is not None and running.api:
        yield running.api
    elif _answers(address := f"http://{settings.host}:{settings.port}"):
        yield address  # one with another state directory, in a container for instance
    else:
        say("no stack is running: starting one for this song (`make run` keeps one up)")
        with _started(settings, say) as api:
            yield api


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def _started(settings: Settings, say: Callable[[str], None]) -> Iterator[str]:
    identity = Identity.of(settings.state)
    log = identity.state / "logs" / "launcher.log"
    env = {**os.environ, "PYTHONPATH": str(SOURCE_ROOT), "PYTHONUNBUFFERED": "1"}
    child = Child(ChildSpec("launcher", [sys.executable, "-m", "embedded", "run"], env, log, piped=True), identity)
    threading.Thread(target=_relay, args=(child, say), daemon=True).start()
    try:
        while (running := stack_file.read(settings.state)) is None or running.pid != child.pid:
            if child.exit_code is not None:
                lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
                raise Refusal(lines[-1].removeprefix("embedded: ") if lines else "the stack ended at start")
            time.sleep(0.1)
        yield running.api
    finally:
        child.stop(STOP_GRACE)


def _relay(child: Child, say: Callable[[str], None]) -> None:
    """Passes the launcher's progress on; its message about being ready is for those who keep it."""
    assert child.process.stdout is not None
    for raw in child.process.stdout:
        line = raw.decode(errors="replace").rstrip()
        if line.startswith(("export:", "triton:", "supervisor:", "warning:")):
            say(line)
