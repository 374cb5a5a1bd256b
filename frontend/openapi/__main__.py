"""`python -m frontend.openapi docs/api.md`: the file with its generated tables made anew, on standard output.

A table stands between `<!-- made: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from frontend.audio.formats import SONG_FORMATS
from frontend.chat.fields import NATIVE_NAMES, REFUSED
from frontend.chat.fields import TABLE as CHAT
from frontend.native.analysis import ANALYSES
from frontend.native.fields import TABLE as NATIVE
from frontend.unbuilt import TABLE as UNBUILT

from . import answers, chat, native, tables

_MADE = re.compile(r"(<!-- made: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def made() -> dict[str, str]:
    """Every generated table by its name."""
    described = native.describe(with_list=True)
    return {
        "native_routes": tables.routes(native.operations()), "chat_routes": tables.routes(chat.operations()),
        "native_fields": tables.fields(NATIVE, "metas"),
        "chat_fields": tables.fields(CHAT, "audio_config", NATIVE_NAMES),
        "native_statuses": tables.statuses(described), "job": tables.keys(answers.JOB),
        "error_codes": tables.meanings("error_code", answers.ERROR_CODES), "result": tables.keys(answers.RESULT),
        "progress": tables.keys(answers.PROGRESS),
        "formats": tables.formats(SONG_FORMATS), "analyses": tables.analyses(ANALYSES),
        "unbuilt": tables.unbuilt(UNBUILT), "chat_refused": tables.unbuilt(REFUSED),
        "job_list": tables.parameters(described["paths"]["/v1/jobs"]["get"]),
    }


def render(text: str) -> str:
    """`text` with every generated table as it is now."""
    tables_now = made()
    return _MADE.sub(lambda found: f"{found[1]}{tables_now[found[2]]}{found[3]}", text)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m frontend.openapi docs/api.md")
    sys.stdout.write(render(Path(sys.argv[1]).read_text(encoding="utf-8")))
