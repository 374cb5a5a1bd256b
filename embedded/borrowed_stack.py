"""The stack a command needs: the one that runs, or one started for the command and stopped with it."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from embedded import address, lock, stack_file
from embedded.child import Child, ChildSpec
from embedded.exporter import SOURCE_ROOT
from embedded.identity import Identity
from embedded.refusal import Refusal
from embedded.tenancy import Tenancy
from frontend.settings import Settings

STOP_GRACE = 20.0  # the launcher's own promise is 15
SERVICE = "ACE-Step API"  # what /health calls itself

Say = Callable[[str], None]


@contextmanager
def borrow(settings: Settings, say: Say) -> Iterator[str]:
    """The native API's base URL for as long as the block runs; Refusal if no stack can be had."""
    try:
        tenancy = Tenancy(settings.state)
    except OSError as error:
        raise Refusal(f"cannot use the state directory {settings.state} ({error.strerror}): "
                      "set ACESTEP_TMPDIR") from None
    launcher = None
    try:
        api = _running(settings, say)
        while api is None:
            say("no stack is running: starting one for this song (`make run` keeps one up)")
            launcher = _Launcher(settings, say)
            # None: another launcher was faster, and that one is waited for
            api = launcher.wait_ready() or _running(settings, say)
        try:
            yield api
        finally:
            if launcher and launcher.owns_stack:
                tenancy.be_the_last(lambda: say("another command uses this stack: waiting for it (Ctrl-C stops both)"))
    finally:
        if launcher:
            launcher.stop()
        tenancy.end()


def _running(settings: Settings, say: Say) -> str | None:
    """The base URL of a stack that is up or coming up, waited for; None if there is none."""
    told = False
    while owner := lock.holder(settings.state):
        running = stack_file.read(settings.state)
        if running is not None:
            if not running.api:
                raise Refusal(f"the stack on {settings.state} runs without its frontend (launcher pid {owner})")
            return running.api
        if not told:
            say(f"a stack is starting or stopping (launcher pid {owner}): waiting for it")
            told = True
        time.sleep(0.2)
    here = address.url(settings.host, settings.port)
    return here if is_up(here) else None  # one with another state directory, in a container for instance


def is_up(base: str) -> bool:
    """Whether this service, and no other program, answers there."""
    try:
        answer = httpx.get(f"{base}/health", timeout=2, trust_env=False)
        return answer.status_code == 200 and answer.json()["service"] == SERVICE
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError):
        return False


class _Launcher:
    """A launcher of this command's own. It has no mark: another one's start must not take it for a relic."""

    def __init__(self, settings: Settings, say: Say) -> None:
        self._settings = settings
        self._log = Identity.of(settings.state).state / "logs" / f"launcher-{os.getpid()}.log"
        env = {**os.environ, "PYTHONPATH": str(SOURCE_ROOT), "PYTHONUNBUFFERED": "1"}
        spec = ChildSpec("launcher", [sys.executable, "-m", "embedded", "run"], env, self._log, piped=True)
        self._child = Child(spec, None)
        self.owns_stack = False
        threading.Thread(target=_relay, args=(self._child, say), daemon=True).start()

    def wait_ready(self) -> str | None:
        """The stack's base URL; None if another launcher holds the state directory; Refusal if it does not start."""
        while (running := stack_file.read(self._settings.state)) is None or running.pid != self._child.pid:
            if self._child.exit_code == lock.TAKEN:
                return None
            if self._child.exit_code is not None:
                raise Refusal(_last_line(self._log) or "the stack ended at start")
            time.sleep(0.1)
        self.owns_stack = True
        return running.api

    def stop(self) -> None:
        self._child.stop(STOP_GRACE)
        for log in self._log.parent.glob(f"{self._log.name}*"):
            if len(log.read_bytes().splitlines()) <= 1:  # a refusal, which was passed on
                log.unlink()


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1].removeprefix("embedded: ") if lines else ""


def _relay(child: Child, say: Say) -> None:
    """Passes the launcher's progress on; its message about being ready is for those who keep it."""
    assert child.process.stdout is not None
    for raw in child.process.stdout:
        line = raw.decode(errors="replace").rstrip()
        if line.startswith(("export:", "triton:", "supervisor:", "warning:")):
            say(line)
