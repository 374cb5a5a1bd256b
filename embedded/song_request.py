"""What the song command is asked for, and what it asks the service for."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from frontend.audio.formats import DEFAULT_FORMAT, SONG_FORMATS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the song command; ports and folders come from the settings' environment variables."""
    parser.add_argument("--prompt", required=True, help="what the song should sound like")
    parser.add_argument("--lyrics", default="", help="lyrics, or [Instrumental]")
    parser.add_argument("--duration", type=float, default=30.0, help="seconds, 10 to 600 (30)")
    parser.add_argument(
        "--format", choices=SONG_FORMATS, help=f"file format (that of --out's name, else {DEFAULT_FORMAT})")
    parser.add_argument("--out", type=Path, help="file to write (songs/<prompt>.<format>)")
    parser.add_argument("--seed", type=int, help="the same seed gives the same song (random)")
    parser.add_argument("--model", dest="song_model", help="one of the served models (the default one)")
    parser.add_argument("--url", help="native API of a stack elsewhere, e.g. http://host:8001")


def body(arguments: argparse.Namespace, audio_format: str) -> dict[str, Any]:
    """The JSON body of POST /v1/music/generate."""
    fields: dict[str, Any] = {
        "caption": arguments.prompt, "lyrics": arguments.lyrics, "audio_duration": arguments.duration,
        "audio_format": audio_format, "batch_size": 1,
    }
    if arguments.seed is not None:
        fields |= {"seed": arguments.seed, "use_random_seed": False}
    if arguments.song_model:
        fields["model"] = arguments.song_model
    return fields


def format_of(out: Path | None) -> str | None:
    """The audio format that a file name asks for, if it is one we write."""
    suffix = out.suffix.lower().removeprefix(".") if out else ""
    return suffix if suffix in SONG_FORMATS else None


def free_name(folder: Path, prompt: str, audio_format: str) -> Path:
    """songs/<the prompt's first words>[-2, -3, ...].<format>: no earlier song is overwritten."""
    stem = re.sub(r"\W+", "-", prompt.lower()).strip("-")[:40].strip("-") or "song"
    suffix = SONG_FORMATS[audio_format].suffix
    names = (folder / f"{stem}{'' if n == 1 else f'-{n}'}.{suffix}" for n in range(1, 10_000))
    return next(path for path in names if not path.exists())
