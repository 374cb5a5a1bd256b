"""What a user reads when the stack is up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from embedded.phases import Phases
from embedded.stack_file import StackFile


def message(running: StackFile, phases: Phases, late: Sequence[str]) -> str:
    """Models, addresses, a request to try, the times of the start; `late` are the models that are still loading."""
    lines = ["", *_models(Path(running.repository))]
    if late:
        lines.append(f"The 5 Hz LM ({', '.join(late)}) is loading: a line here will say that it is ready.")
    if running.api:
        lines.append(f"API:    {running.api}  (jobs)")
        lines.append(f"Chat:   {running.chat}/v1  (OpenRouter, OpenAI SDKs)")
    lines.append(f"Triton: http://{running.triton_http}  gRPC {running.triton_grpc}  metrics http://{running.triton_metrics}/metrics")
    if running.api:
        lines += ["", "Make a song:", *_curl(running.api)]
    lines += ["", f"times: {phases.line()}", "Ctrl-C stops everything."]
    return "\n".join(lines)


def _models(repository: Path) -> list[str]:
    try:
        served = json.loads((repository / "acestep" / "1" / "models" / "served.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return [f"ready: {repository}"]
    names = [f"{name} (default)" if name == served["default"] else name for name in served["models"]]
    lines = [f"ready: {', '.join(names)}"]
    if served.get("embedded"):
        lines.append("These are the tiny embedded models with random weights: their audio is noise. For music: "
                     "CHECKPOINTS=/path/to/checkpoints MODEL=acestep-v15-turbo")
    return lines


def _curl(api: str) -> list[str]:
    return [
        f"  curl -s {api}/v1/music/generate -H 'Content-Type: application/json' \\",
        '    -d \'{"caption": "lo-fi piano, rain", "audio_duration": 30, "batch_size": 1}\'',
        f"  curl -s {api}/v1/jobs/<job_id>                      # until it succeeded",
        f"  curl -s '{api}<first_audio_path>' -o song.mp3",
    ]
