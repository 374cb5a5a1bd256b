"""Why an engine does not start, in one line: the exception itself is raised, and logged, in another process."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

SEPARATOR = "\x1e"
LEVEL = "WARNING"
# vLLM's way of saying that the reason is elsewhere.
ELSEWHERE = ("Engine core initialization failed", "WorkerProc initialization failed")
PLAIN = ("ValueError: ", "RuntimeError: ", "AssertionError: ", "Exception: ")


class LoadError(Exception):
    """The model cannot be served; one line that says why."""


def one_line(text: str) -> str:
    """The text in one line, without paths of this machine, at most 500 characters."""
    return re.sub(r"(?<![\w/])/(?:[^\s/:'\"]+/)+", "", " ".join(text.split()))[:500]


class FailureLog:
    """The errors that all of vLLM's processes log, in a file; `path` is emptied when a load begins."""

    def __init__(self, path: str) -> None:
        self.path = path

    def configure(self) -> str:
        """Writes the logging configuration that every process of vLLM reads; its path."""
        with open(self.path, "w", encoding="utf-8"):
            pass
        config: dict[str, Any] = {
            "version": 1,
            "disable_existing_loggers": False,
            # Classes of the standard library and of vLLM: some of the processes find no module of ours.
            "formatters": {
                "line": {"class": "vllm.logging_utils.NewLineFormatter", "datefmt": "%m-%d %H:%M:%S",
                         "format": "%(levelname)s %(asctime)s %(processName)s [%(filename)s:%(lineno)d] %(message)s"},
                "record": {"format": f"{SEPARATOR}%(message)s"},
            },
            "handlers": {
                "log": {"class": "logging.StreamHandler", "formatter": "line", "level": LEVEL,
                        "stream": "ext://sys.stdout"},
                "errors": {"class": "logging.FileHandler", "formatter": "record", "level": "ERROR", "delay": True,
                           "filename": self.path, "encoding": "utf-8"},
            },
            "loggers": {"vllm": {"handlers": ["log", "errors"], "level": LEVEL, "propagate": False}},
        }
        path = f"{self.path}.json"
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file)
        return path

    def reason(self, raised: BaseException) -> str:
        """Why the engine did not start, given what its start raised here."""
        own = f"{type(raised).__name__}: {raised}"
        if any(text in own for text in ELSEWHERE):
            with contextlib.suppress(OSError), open(self.path, encoding="utf-8", errors="replace") as file:
                causes = [cause for record in file.read().split(SEPARATOR) if (cause := _exception(record))]
                own = next((cause for cause in causes if not any(text in cause for text in ELSEWHERE)), own)
        return _first_sentence(own)


def _first_sentence(text: str) -> str:
    """What an exception says at once; vLLM's go on with advice that is for its own command line."""
    text = re.sub(r"^ValidationError: \d+ validation errors? for \w+ +(Value error, )?", "", " ".join(text.split()))
    for prefix in PLAIN:
        text = text.removeprefix(prefix)
    return re.split(r"\. | \[type=", text)[0][:500]


def _exception(record: str) -> str | None:
    """The exception that a logged traceback ends with; None if the record has none."""
    _, traceback, text = record.rpartition("Traceback (most recent call last):\n")
    lines = text.splitlines()
    begin = next((number for number, line in enumerate(lines) if line and not line[0].isspace()), None)
    if not traceback or begin is None:
        return None
    return re.sub(r"^[\w.]*\.(\w+:)", r"\1", " ".join(lines[begin:]))
