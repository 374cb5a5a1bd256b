"""`python -m frontend`: the HTTP APIs in front of a running Triton server."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
import sys

from hypercorn.asyncio import serve
from hypercorn.config import Config
from quart import Quart

from .chat import routes as chat_routes
from .jobs.store import StoreError
from .native import routes
from .services import Services
from .settings import Settings, SettingsError, load

_STOP_SECONDS = 3.0


def listen(host: str, port: int, setting: str) -> socket.socket:
    """A bound socket; SettingsError names the setting when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise SettingsError(f"{setting}: cannot listen on {host}:{port}: {error.strerror or error}") from None
    return bound


async def serve_app(app: Quart, bound: socket.socket, stop: asyncio.Event) -> None:
    """Serve `app` on `bound` until `stop`; connections that are still open _STOP_SECONDS later are cut."""
    config = Config()
    config.bind = [f"fd://{bound.detach()}"]
    config.graceful_timeout = _STOP_SECONDS
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    serving = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    await asyncio.wait((serving,), timeout=_STOP_SECONDS)
    if not serving.done():
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
    elif not serving.cancelled():
        serving.result()


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    native = listen(settings.host, settings.port, "ACESTEP_API_PORT")
    try:
        openrouter = listen(settings.chat_host, settings.chat_port, "OPENROUTER_PORT")
    except SettingsError:
        native.close()
        raise
    services = Services(settings)
    stop = services.stopping
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    _allow_many_files()
    async with services, asyncio.TaskGroup() as listeners:
        listeners.create_task(serve_app(routes.create_app(services), native, stop))
        listeners.create_task(serve_app(chat_routes.create_app(services), openrouter, stop))


def _allow_many_files() -> None:
    """As many open connections and files as this user may have: the usual 1,024 are soon used by followers of jobs."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        settings = load(sys.argv[1:], prog="python -m frontend", description=__doc__)
        for warning in settings.warnings:
            logging.getLogger("frontend").warning("%s", warning)
        asyncio.run(run(settings))
    except (SettingsError, StoreError, OSError) as error:
        print(f"frontend: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
