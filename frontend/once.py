"""Idempotency-Key: a submission that is sent twice, because an answer was lost, is one job."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from quart import Request

from .errors import RequestError
from .jobs.job import Once
from .native.body import too_large
from .uploads import Intake

HEADER = "Idempotency-Key"
_LONGEST = 255


async def read_once(request: Request, body: Mapping[str, object], intake: Intake) -> Once | None:
    """The key of a request and the digest of its fields and files; None when it has no key."""
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if not (0 < len(key) <= _LONGEST and key.isascii() and key.isprintable()):
        raise RequestError(400, f"{HEADER}: must be 1 to {_LONGEST} printable ASCII characters")
    try:
        said = json.dumps([request.path, body, await intake.digests()], sort_keys=True)
    except RecursionError:
        raise too_large() from None
    return Once(key, hashlib.sha256(said.encode()).hexdigest())
