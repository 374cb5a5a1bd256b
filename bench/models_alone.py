"""The time a song's models need by themselves: the same ONNX files and calls, in a loop, with nothing around."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from pipeline import facts
from pipeline.chunks import cut_chunks
from pipeline.dit_batch import DitBatch
from pipeline.material import silence, with_mask
from pipeline.models import Condition, Floats
from pipeline.noise import draw_normal
from pipeline.plan import SongPlan, plan_song
from pipeline.request import read_song
from pipeline.tokens import PromptTokenizer
from pipeline.track import Course, Stage, Track

Run = Callable[[dict[str, npt.NDArray[Any]]], list[npt.NDArray[Any]]]


@dataclass
class Stopwatch:
    """Seconds spent inside models, by model; copies and sampler arithmetic between the calls are not counted."""

    seconds: dict[str, float] = field(default_factory=dict)

    def timed(self, name: str, run: Run) -> Run:
        """The same call, its time added to `seconds`."""
        def call(inputs: dict[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
            begin = time.perf_counter()
            outputs = run(inputs)
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin
            return outputs
        return call


class ModelsAlone:
    """ONNX Runtime sessions of an assembled repository, in this process, with the options of the served ones."""

    def __init__(self, repository: Path, options: onnxruntime.SessionOptions) -> None:
        self._repository = repository
        version = repository / "acestep" / "1"
        self._served = facts.load(version / "models")
        self._tokenizer = PromptTokenizer(version / "tokenizer" / "tokenizer.json")
        self._options = options
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}

    def sing(self, **request: Any) -> dict[str, float]:
        """Runs every model call of one song; seconds by model."""
        plan = plan_song(read_song({"kind": "song"} | request), self._served, self._tokenizer)
        watch = Stopwatch()
        condition = self._condition(plan, watch)
        dit = watch.timed("dit", self._model(f"{plan.dit.name}-dit"))
        context = with_mask(silence(plan.dit.silence, plan.length.visible))
        for seed in plan.seeds:
            noise = draw_normal(seed, "latents", (plan.length.visible, 64))
            track = _track(seed, noise, Stage(0, condition, context), plan.course)
            batch = DitBatch([track])
            while not track.is_done:
                (velocity,) = dit(vars(batch.call()))
                track.advance_here(velocity[:, : len(track.latents)])
            decode = watch.timed("vae_decoder", self._model("vae_decoder"))
            for chunk in cut_chunks(plan.length.frames, self._served.overlap_frames):
                decode({"latents": np.ascontiguousarray(track.latents[None, chunk.begin : chunk.end])})
        return watch.seconds

    def _condition(self, plan: SongPlan, watch: Stopwatch) -> Condition:
        prompt, lyrics = plan.prompt.ids[None], plan.lyrics.ids[None]
        text = watch.timed("text_encoder", self._model("text_encoder"))
        embed = watch.timed("lyric_embedding", self._model("lyric_embedding"))
        encode = watch.timed("condition", self._model(f"{plan.dit.name}-condition"))
        (text_hidden,) = text({"input_ids": prompt, "attention_mask": np.ones(prompt.shape, np.bool_)})
        (lyric_hidden,) = embed({"input_ids": lyrics})
        hidden, mask = encode({
            "text_hidden_states": text_hidden, "text_mask": np.ones(prompt.shape, np.bool_),
            "lyric_hidden_states": lyric_hidden, "lyric_mask": np.ones(lyrics.shape, np.bool_),
            "refer_latents": np.ascontiguousarray(plan.dit.silence[None, : plan.dit.timbre_frames]),
        })
        return Condition(hidden[0][mask[0]])

    def _model(self, name: str) -> Run:
        if name not in self._sessions:
            self._sessions[name] = onnxruntime.InferenceSession(
                str(self._repository / name / "1" / "model.onnx"), self._options, providers=["CPUExecutionProvider"])
        session = self._sessions[name]
        return lambda inputs: session.run(None, inputs)


def _track(seed: int, noise: Floats, stage: Stage, course: Course) -> Track:
    # The future of a track is for waiting on it; nobody waits here.
    return Track(seed, noise, (stage,), course, lambda step: None, finished=None)  # type: ignore[arg-type]
