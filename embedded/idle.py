"""Whether this checkout's build folder and environment may be thrown away."""

from __future__ import annotations

from pathlib import Path

from embedded import lock
from embedded.refusal import Refusal
from export.in_use import users
from frontend.settings import Settings


def check(settings: Settings) -> None:
    """Refusal if a stack runs or starts on the settings' state folder, or anything runs from a build folder here."""
    if owner := lock.holder(settings.state):
        raise Refusal(f"a stack is running (launcher pid {owner}): stop it first")
    for build in {settings.build.resolve(), Path("build").resolve()}:
        if pids := users(build):
            raise Refusal(f"a stack is running from {build} (pid {pids[0]}): stop it first")
