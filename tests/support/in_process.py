"""The pipeline without Triton: its own song code, over ONNX Runtime sessions of an exported repository."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline import facts
from pipeline.denoiser import Denoiser
from pipeline.events import Audio, Done, Event, Latents, Planning, Progress
from pipeline.lm.compose import LmService
from pipeline.material import Uploads
from pipeline.models import Codes, Condition, DitCall, Floats
from pipeline.request import read_song
from pipeline.song import Caller, Studio, prepare, sing
from pipeline.tokens import PromptTokenizer, TokenIds

Run = Callable[[str, dict[str, npt.NDArray[Any]]], list[npt.NDArray[Any]]]
_TOKEN_BUDGET = 4_096


class InProcessModels:
    """The `Models` of a song over the graphs that `run` calls by name."""

    def __init__(self, run: Run) -> None:
        self._run = run

    async def condition(self, dit: str, prompt: TokenIds, lyrics: TokenIds, timbre: Floats) -> Condition:
        """See Models; the three graphs of the served ensemble, one after the other."""
        text, lyric = prompt.ids[None], lyrics.ids[None]
        text_mask, lyric_mask = np.ones(text.shape, np.bool_), np.ones(lyric.shape, np.bool_)
        (text_hidden,) = self._run("text_encoder", {"input_ids": text, "attention_mask": text_mask})
        (lyric_hidden,) = self._run("lyric_embedding", {"input_ids": lyric})
        hidden, mask = self._run(f"{dit}-condition", {
            "text_hidden_states": text_hidden, "text_mask": text_mask, "lyric_hidden_states": lyric_hidden,
            "lyric_mask": lyric_mask, "refer_latents": np.ascontiguousarray(timbre[None])})
        return Condition(hidden[0][mask[0]])

    async def velocity(self, dit: str, call: DitCall) -> Floats:
        """See Models."""
        return self._run(f"{dit}-dit", vars(call))[0]

    async def encode(self, audio: Floats) -> tuple[Floats, Floats]:
        """See Models."""
        mean, std = self._run("vae_encoder", {"audio": np.ascontiguousarray(audio[None])})
        return mean[0], std[0]

    async def tokenize(self, dit: str, latents: Floats) -> Codes:
        """See Models."""
        codes: Codes = self._run(f"{dit}-tokenize", {"latents": np.ascontiguousarray(latents[None])})[0][0]
        return codes

    async def detokenize(self, dit: str, codes: Codes) -> Floats:
        """See Models."""
        latents: Floats = self._run(f"{dit}-detokenize", {"codes": codes[None]})[0][0]
        return latents

    async def decode(self, latents: Floats) -> Floats:
        """See Models."""
        audio: Floats = self._run("vae_decoder", {"latents": np.ascontiguousarray(latents[None])})[0][0]
        return audio


@dataclass
class InProcessSong:
    """What a song's events carried: latents and audio by item, and the events themselves in order."""

    events: list[Event] = field(default_factory=list)
    latents: dict[int, Floats] = field(default_factory=dict)
    pcm: dict[int, list[Floats]] = field(default_factory=dict)

    @property
    def done(self) -> Done:
        """The last event."""
        last = self.events[-1]
        assert isinstance(last, Done)
        return last

    def audio(self, item: int = 0) -> Floats:
        """The item's audio [2, samples]."""
        return np.concatenate(self.pcm[item], axis=1)

    def hear(self, event: Event) -> None:
        """Notes an event."""
        self.events.append(event)
        if isinstance(event, Latents):
            self.latents[event.item] = event.latents
        elif isinstance(event, Audio):
            self.pcm.setdefault(event.item, []).append(event.pcm)


@cache
def _served(repository: Path) -> tuple[facts.Served, PromptTokenizer]:
    version = repository / "acestep" / "1"
    return facts.load(version / "models"), PromptTokenizer(version / "tokenizer" / "tokenizer.json")


async def make_song(
    repository: Path, run: Run, request: Mapping[str, Any], source: Floats | None = None,
    reference: Floats | None = None,
) -> InProcessSong:
    """A song of the pipeline, latents included, without an LM. Errors: SongError."""
    served, tokenizer = _served(repository)
    models, song = InProcessModels(run), InProcessSong()
    denoisers = {
        name: Denoiser(lambda call, name=name: models.velocity(name, call), _TOKEN_BUDGET)  # type: ignore[misc]
        for name in served.dits
    }
    studio = Studio(models, served, tokenizer, denoisers, LmService(None, {}))

    async def send(event: Event) -> None:
        song.hear(event)

    def report(event: Progress | Planning) -> None:
        song.hear(event)

    wish = read_song({"kind": "song", "return": ["latents"], **request})
    uploads = Uploads(source, reference)
    plan = await prepare(wish, studio, uploads)
    await sing(plan, wish, studio, Caller(send, report, lambda: False), uploads)
    return song
