"""Songs over the native API, as a client makes them."""

import contextlib
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from frontend.songs.wire import Floats

LYRICS = "[verse]\nSoft notes in the morning light\n[chorus]\nStay"
CAPTION = "lo-fi piano, rain on a window"
_PATIENCE = 600.0  # seconds for one answer: a machine that swaps is slow, not broken


def order(seconds: float, **fields: Any) -> dict[str, Any]:
    """The body of one song: `fields` of the API beside the words that every benchmark sings."""
    return {"caption": CAPTION, "lyrics": LYRICS, "audio_duration": seconds, "audio_format": "wav", "batch_size": 1,
            "seed": 42, "use_random_seed": False, **fields}


def tones(seconds: float) -> Floats:
    """Two tones to be uploaded, float32 [2, n]."""
    tone = np.sin(np.arange(round(seconds * 48_000), dtype=np.float32) * 0.05)
    both: Floats = np.stack([tone, tone[::-1]]) * np.float32(0.5)
    return both


def make(api: str, body: dict[str, Any], source: Path | None = None, wait: float = 0.2) -> float:
    """Seconds from the POST to the finished file: the POST's own time, then the job's own timestamps.

    `source` is uploaded as src_audio. `wait` seconds lie between two looks at the job.
    """
    with httpx.Client(base_url=api, timeout=_PATIENCE) as client, contextlib.ExitStack() as files:
        begin = time.time()
        sent: dict[str, Any] = {"json": body}
        if source is not None:
            sent = {"data": body, "files": {"src_audio": files.enter_context(source.open("rb"))}}
        job = client.post("/v1/music/generate", **sent).raise_for_status().json()["job_id"]
        while (state := client.get(f"/v1/jobs/{job}").json())["status"] in ("queued", "running"):
            time.sleep(wait)
        assert state["status"] == "succeeded", state["error"]
        return float(state["finished_at"] - begin)
