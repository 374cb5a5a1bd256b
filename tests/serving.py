"""Apps on a real port of this process, and server-sent events as a client reads them."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from quart import Quart

from frontend.__main__ import listen, serve_app


@asynccontextmanager
async def served(app: Quart, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of `app`, which Hypercorn serves on a free port; `options` are the client's."""
    bound: socket.socket = listen("127.0.0.1", 0, "TEST")
    bound.listen()  # so that nobody comes too early
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    stop = asyncio.Event()
    serving = asyncio.create_task(serve_app(app, bound, stop))
    try:
        async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False, **options) as client:
            yield client
    finally:
        stop.set()
        await serving


@dataclass(frozen=True)
class SentEvent:
    """One server-sent event; `data` is its JSON."""

    name: str
    data: Any
    id: str | None


async def sent_events(response: httpx.Response) -> AsyncIterator[SentEvent | str]:
    """The events of a stream in order, and its comments as text."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line.startswith(":"):
            yield line[1:].strip()
        elif line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield SentEvent(fields.get("event", "message"), json.loads(fields["data"]), fields.get("id"))
            fields = {}
        else:
            fields = {}
