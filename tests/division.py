"""Which process runs which tests: all that share the session's stack one of them, the rest by file."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).resolve().parent.parent
_ASKS = re.compile(r"def \w+\([^)]*\bstack\b")


@cache
def group(file: str) -> str:
    """The group of a test file, whose path is relative to the project's folder."""
    return "stack" if _ASKS.search((ROOT / file).read_text(encoding="utf-8")) else file


class ByFixture(LoadScopeScheduling):
    """Gives every process one group at a time."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid.partition("::")[0])
