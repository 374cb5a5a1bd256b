"""`python -m embedded run`, `song`, `export` and `idle`."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from embedded import song_request
from embedded.refusal import Refusal
from frontend.settings import Settings, SettingsError, add_arguments, read_dotenv, resolve


class Stopped(BaseException):
    """The user (SIGINT) or the system (SIGTERM, SIGHUP) wants this process to end."""


class Stop:
    """Whether an end was asked for; the first signal also interrupts what is going on, later ones change nothing."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.asked:
            self.asked = True
            raise Stopped

    def check(self) -> None:
        """Raises Stopped, for the rare signal whose exception was lost in a destructor."""
        if self.asked:
            raise Stopped


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone
        print(text, flush=True)


def _settings(arguments: argparse.Namespace) -> Settings:
    return resolve(vars(arguments), os.environ, read_dotenv(Path(".env")))


def run(arguments: argparse.Namespace) -> int:
    """Starts the stack and stays until Ctrl-C or SIGTERM; 0 after an orderly stop."""
    from embedded import preflight

    preflight.check_python()
    from embedded.ready import message
    from embedded.stack import Stack, StackOptions

    settings = _settings(arguments)
    for warning in settings.warnings:
        _say(f"warning: {warning}")
    stack = Stack(settings, StackOptions(arguments.repository, not arguments.no_frontend), _say)
    stop = Stop()
    try:
        running = stack.start()
        _say(message(running, stack.phases, stack.late))
        stack.supervise(stop.check)
    except Stopped:
        _say("stopping")
    finally:
        stop.asked = True  # stopping takes a bounded time; a signal must not cut it short
        stack.stop()
    return 0


def song(arguments: argparse.Namespace) -> int:
    """Makes one song and writes its file."""
    from embedded.song import make

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return make(arguments)
    except KeyboardInterrupt as interrupt:
        print(f"embedded: stopped; {interrupt if interrupt.args else 'no song was asked for'}", file=sys.stderr)
        return 130


def export(arguments: argparse.Namespace) -> int:
    """Exports what `run` would serve; nothing is started."""
    from embedded import exporter

    exporter.become(_settings(arguments))


def idle(arguments: argparse.Namespace) -> int:
    """0 if no stack of this checkout runs; Refusal else."""
    from embedded.idle import check

    check(_settings(arguments))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m embedded", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    runner = commands.add_parser("run", help="export what is needed, start Triton and the frontend, stay until Ctrl-C")
    runner.add_argument("--repository", type=Path, help="serve this assembled model repository: no export")
    runner.add_argument("--no-frontend", action="store_true", help="Triton and its supervisor alone")
    add_arguments(runner)
    runner.set_defaults(work=run)
    for name, text, work in (
        ("export", "export what `run` would serve, start nothing", export),
        ("idle", "succeed if no stack of this checkout runs", idle),
    ):
        command = commands.add_parser(name, help=text)
        add_arguments(command)
        command.set_defaults(work=work)
    singer = commands.add_parser("song", help="make one song, starting the stack for it if none is up")
    song_request.add_arguments(singer)
    singer.set_defaults(work=song)
    return parser


def main(argv: Sequence[str]) -> int:
    """Exit code of one command; whatever the user can put right is one line on stderr."""
    try:
        arguments = _parser().parse_args(argv)
        return int(arguments.work(arguments))
    except (Refusal, SettingsError) as error:
        print(f"embedded: {error}", file=sys.stderr, flush=True)
        return getattr(error, "exit_code", 2)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in ("embedded", "frontend"):
            raise
        line = f"the package {error.name} is missing in {sys.prefix}: install requirements.lock"
        print(f"embedded: {line}", file=sys.stderr, flush=True)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
