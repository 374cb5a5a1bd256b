"""Errors in a shape that the document's clients, OpenAI's SDKs and OpenRouter's clients all understand."""

from __future__ import annotations

from typing import Any

from frontend.errors import RequestError
from frontend.jobs.job import Job

NO_RETRY = {"x-should-retry": "false"}  # OpenAI's SDKs would make a failed song twice more
_TYPES = {
    401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error",
}


def error_body(status: int, detail: str) -> dict[str, Any]:
    """`detail` as documented, and `error` as OpenAI (message, type) and OpenRouter (code) have it."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"detail": detail, "error": {"message": detail, "type": kind, "code": status}}


def failure(job: Job) -> RequestError:
    """The answer to a request whose job has failed."""
    text = job.error or "unknown error"
    if job.error_code == "invalid_request":
        return RequestError(400, text)
    return RequestError(500, f"Generation failed: {text}", NO_RETRY)


def too_late(seconds: float) -> RequestError:
    """The answer to a request whose song was not ready in time."""
    return RequestError(504, f"The song was not ready within {seconds:g} seconds", NO_RETRY)


def stopping() -> RequestError:
    """The answer to a request that waits when the server is stopped."""
    return RequestError(503, "The server is stopping", {"Retry-After": "5"})


def gone() -> RequestError:
    """The answer to a request whose job or file was deleted under it."""
    return RequestError(500, "Generation failed: the song was deleted", NO_RETRY)
