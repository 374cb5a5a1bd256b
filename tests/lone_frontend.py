"""A frontend in a process of its own that knows models but reaches no Triton: jobs wait, nothing claims them.

`python -m tests.lone_frontend STATE [flags of the frontend]` prints the ports of both APIs; it ends with its standard
input.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class LoneFrontend:
    """The process and its base URLs."""

    native: str
    chat: str
    process: psutil.Process

    def forget_peak(self) -> int:
        """Begin to measure the peak of resident memory anew; bytes resident now."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return self.process.memory_info().rss

    def peak(self) -> int:
        """Largest resident memory since `forget_peak`, bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024


@contextmanager
def lone_frontend(state: Path, *flags: str) -> Iterator[LoneFrontend]:
    """Starts one; ends it with the context."""
    with (state / "frontend.out").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.lone_frontend", str(state / "state"), *flags], cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline().split()
            assert len(line) == 2, (state / "frontend.out").read_text()
            native, chat = (f"http://127.0.0.1:{int(port)}" for port in line)
            yield LoneFrontend(native, chat, psutil.Process(process.pid))
        finally:
            process.stdin.close()
            process.wait(timeout=20)
            process.stdout.close()


async def main(state: str, flags: list[str]) -> None:
    from frontend.__main__ import listen, serve_app
    from frontend.chat import routes as chat
    from frontend.native import routes as native
    from frontend.services import Services
    from frontend.settings import load
    from tests.test_native_fields import BOTH

    settings = load(["--state", state, "--triton-url", "127.0.0.1:9", *flags], {}, None)
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), stop.set)
    doors = [listen("127.0.0.1", 0, "TEST") for _ in range(2)]
    async with Services(settings) as services, asyncio.TaskGroup() as listeners:
        services.catalogue = BOTH
        for door in doors:
            door.listen()
        print(*(door.getsockname()[1] for door in doors), flush=True)
        for app, door in zip((native.create_app(services), chat.create_app(services)), doors, strict=True):
            listeners.create_task(serve_app(app, door, stop))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
