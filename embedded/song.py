"""`python -m embedded song`: one song from the terminal, over the native HTTP API."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from tqdm import tqdm

from embedded.borrowed_stack import borrow, is_up
from embedded.refusal import Refusal
from embedded.song_request import body, format_of, free_name
from frontend.audio.formats import DEFAULT_FORMAT
from frontend.settings import read_dotenv, resolve

POLL = 0.25
Job = dict[str, Any]


def make(arguments: argparse.Namespace) -> int:
    """Makes the song and writes its file; Refusal with the service's own words if it fails."""
    audio_format = arguments.format or format_of(arguments.out) or DEFAULT_FORMAT
    out = arguments.out or free_name(Path("songs"), arguments.prompt, audio_format)
    fields = body(arguments, audio_format)
    settings = resolve({}, os.environ, read_dotenv(Path(".env")))
    key = settings.native_api_key
    if arguments.url:
        return _make_at(arguments.url.rstrip("/"), key, fields, out)
    try:
        with borrow(settings, lambda text: print(text, file=sys.stderr, flush=True)) as api:
            return _make_at(api, key, fields, out)
    except Cancelled as cancelled:
        if not is_up(cancelled.api):  # it ended with this command
            raise KeyboardInterrupt(f"job {cancelled.job_id} stays queued and is made at the next start") from None
        raise


class Cancelled(KeyboardInterrupt):
    """Ctrl-C after the song was asked for; `str()` says what becomes of it."""

    def __init__(self, job_id: str, api: str) -> None:
        super().__init__(f"job {job_id} is not cancelled: {api}/v1/jobs/{job_id}")
        self.job_id = job_id
        self.api = api


def _make_at(api: str, key: str | None, fields: dict[str, Any], out: Path) -> int:
    started = time.monotonic()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with httpx.Client(base_url=api, headers=headers, timeout=60, trust_env=_outside(api)) as client:
            job_id = _answer(client.post("/v1/music/generate", json=fields))["job_id"]
            try:
                job = _wait(client, job_id)
            except KeyboardInterrupt:
                raise Cancelled(job_id, api) from None
            if job["status"] != "succeeded":
                raise Refusal(f"the song failed: {job.get('error') or 'no reason given'}")
            _download(client, job["result"]["first_audio_path"], out)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Refusal(f"no answer from {api}: {error}") from None
    result = job["result"]
    print(f"{out}  ({fields['audio_duration']:g} s by {result['dit_model']}, seed {result['seed_value']}, "
          f"made in {time.monotonic() - started:.1f} s)")
    return 0


def _outside(api: str) -> bool:
    """Whether the environment's proxies are for this address: they are for the world outside, not for this machine."""
    return not api.startswith(("http://127.", "http://[::1]", "http://localhost"))


def _answer(response: httpx.Response) -> dict[str, Any]:
    """The JSON of a good answer; Refusal with the service's text otherwise."""
    if response.is_success:
        return dict(response.json())
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = response.text[:300]
    raise Refusal(f"the service refused ({response.status_code}): {detail}")


def _wait(client: httpx.Client, job_id: str) -> Job:
    """The job when it has ended, with a progress bar meanwhile (none where stderr is no terminal)."""
    with tqdm(total=1, desc="queued", disable=None, leave=False, bar_format="{desc:>10} {bar:40} {n}/{total}") as bar:
        while True:
            job = _answer(client.get(f"/v1/jobs/{job_id}"))
            if job["status"] not in ("queued", "running"):
                return job
            progress = job.get("progress") or {"phase": job["status"], "done": 0, "total": 1}
            bar.set_description_str(progress["phase"], refresh=False)
            bar.total, bar.n = max(1, progress["total"]), progress["done"]
            bar.refresh()
            time.sleep(POLL)


def _download(client: httpx.Client, path: str, out: Path) -> None:
    """Writes the audio file whole or not at all."""
    part = out.with_name(f".{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with client.stream("GET", path) as response, part.open("wb") as file:
            if not response.is_success:
                response.read()
                _answer(response)
            for piece in response.iter_bytes():
                file.write(piece)
        part.replace(out)
    except OSError as error:
        raise Refusal(f"cannot write {out}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
