"""`python -m embedded run` and `python -m embedded song`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from embedded import song_request
from embedded.refusal import Refusal
from frontend.settings import SettingsError, add_arguments, read_dotenv, resolve


class Stopped(BaseException):
    """The user (SIGINT) or the system (SIGTERM) wants this process to end."""


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise Stopped


def _say(text: str) -> None:
    print(text, flush=True)


def run(arguments: argparse.Namespace) -> int:
    """Starts the stack and stays until Ctrl-C or SIGTERM; 0 after an orderly stop."""
    from embedded.ready import message
    from embedded.stack import Stack, StackOptions

    settings = resolve(vars(arguments), os.environ, read_dotenv(Path(".env")))
    for warning in settings.warnings:
        _say(f"warning: {warning}")
    stack = Stack(settings, StackOptions(arguments.repository, not arguments.no_frontend), _say)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        running = stack.start()
        _say(message(running, stack.phases))
        stack.supervise()
    except Stopped:
        _say("stopping")
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # stopping is bounded; a second Ctrl-C must not cut it short
        stack.stop()
    return 0


def song(arguments: argparse.Namespace) -> int:
    """Makes one song and writes its file."""
    from embedded.song import make

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return make(arguments)
    except KeyboardInterrupt:
        print("embedded: song cancelled", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m embedded", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    runner = commands.add_parser("run", help="export what is needed, start Triton and the frontend, stay until Ctrl-C")
    runner.add_argument("--repository", type=Path, help="serve this assembled model repository: no export")
    runner.add_argument("--no-frontend", action="store_true", help="Triton and its supervisor alone")
    add_arguments(runner)
    runner.set_defaults(work=run)
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
