"""A whole small song by the oracle: the exported graphs are black boxes, everything around them is this folder's."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from pipeline.noise import draw_normal  # the definition of a seed (docs/behaviour.md), which nothing else can give

from . import masks, prompts, repaint, schedule, timbre
from .masks import Floats
from .sampler import Doubles, Evaluate, Memory, Options, step

Run = Callable[[str, dict[str, npt.NDArray[Any]]], list[npt.NDArray[Any]]]
# What a request means that does not name a field.
NEUTRAL: dict[str, Any] = {
    "task": "text2music", "steps": None, "shift": 3.0, "timesteps": None, "infer_method": "ode", "guidance_scale": 7.0,
    "use_adg": False, "cfg_interval": [0.0, 1.0], "codes": None, "repaint_start": 0.0, "repaint_end": None,
    "cover_strength": 1.0, "dcw_enabled": False, "dcw_mode": "double", "dcw_scaler": 0.05, "dcw_high_scaler": 0.02,
    "dcw_wavelet": "haar", "repaint_mode": "aggressive", "repaint_strength": 0.5, "sampler_mode": "euler",
    "velocity_norm_threshold": 0.0, "velocity_ema_factor": 0.0, "latent_shift": 0.0, "latent_rescale": 1.0,
    "cover_noise_strength": 0.0, "chunk_mask_mode": "explicit", "global_caption": "",
}


@dataclass(frozen=True)
class Made:
    """A song: latents [frames, 64], audio [2, samples] before gain."""

    latents: Doubles
    audio: Doubles


@dataclass(frozen=True)
class Heard:
    """What a song follows: `clean` source latents, `start` from which a cover may begin, the DiT's `context`."""

    clean: Floats
    start: Floats
    context: Floats


@dataclass(frozen=True)
class Oracle:
    """One DiT of an exported repository; `run` calls a graph of it by name."""

    repository: Path
    dit: str
    run: Run

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the export wrote of the model."""
        found: dict[str, Any] = json.loads((self._folder / "facts.json").read_text())
        return found

    @cached_property
    def silence(self) -> Floats:
        """The checkpoint's silence [15000, 64]."""
        found: Floats = np.load(self._folder / "silence_latent.npy")
        return found

    @property
    def _folder(self) -> Path:
        return self.repository / "acestep" / "1" / "models" / self.dit

    def sing(self, request: Mapping[str, Any], source: Floats | None = None, reference: Floats | None = None) -> Made:
        """The first item of a song request (the pipeline's field names), with its source and reference [2, n]."""
        ask = NEUTRAL | dict(request)
        seed = ask["seeds"][0]
        placed = _place(ask, source)
        samples = placed.audio.shape[1]
        where = masks.canvas(samples, placed.begin, placed.end)
        heard = self._hear(ask, where, placed.audio if _follows(ask) else None)
        texts = prompts.dit_texts(ask, samples / masks.RATE, self.facts.get("is_lego_sft", False))
        colour = self._timbre(reference, seed)
        stages = [(self._condition(texts["caption_text"], texts["lyric_text"], colour), heard.context)]
        if "later_text" in texts:
            quiet = masks.silence_frames(self.silence, where.visible)
            context = masks.context(quiet, heard.context[:, masks.CHANNELS :])
            stages.append((self._condition(texts["later_text"], texts["lyric_text"], colour), context))
        latents = self._denoise(ask, where, heard, stages)[: where.frames]
        (audio,) = self.run("vae_decoder", {"latents": latents[None].astype(np.float32)})
        kept = repaint.keeping(ask["repaint_mode"], ask["repaint_strength"])
        whole: Doubles = audio[0, :, :samples].astype(np.float64)
        if ask["task"] in masks.REGION_TASKS and kept.splices:
            whole = repaint.splice(audio[0, :, :samples], placed.audio, placed.begin, placed.end, kept.seconds)
        return Made(latents, whole)

    def _denoise(
        self, ask: Mapping[str, Any], where: masks.Canvas, heard: Heard, stages: list[tuple[Floats, Floats]]
    ) -> Doubles:
        seed, options = ask["seeds"][0], _options(ask, self.facts["is_turbo"])
        steps = ask["steps"] or self.facts["steps"]["default"]
        times = schedule.schedule(options.is_turbo, steps, ask["shift"], ask["timesteps"])
        noise = draw_normal(seed, "latents", (where.visible, masks.CHANNELS))
        start, times = schedule.begin(noise, heard.start, times, ask["cover_noise_strength"])
        change = schedule.switch(times, ask["cover_strength"]) if len(stages) > 1 else len(times)
        kept = repaint.keeping(ask["repaint_mode"], ask["repaint_strength"])
        keeps = ask["task"] in masks.REGION_TASKS
        memory, x = Memory(), start.astype(np.float64)
        for k, (t, t_next) in enumerate(zip(times, [*times[1:], 0.0], strict=True)):
            evaluate = self._evaluate(*stages[0 if k < change else 1], options)
            x = step(x, t, t_next, evaluate, options, memory, draw_normal(seed, f"sde {k}", x.shape))
            if keeps and repaint.is_held(k, len(times), kept.share, options.is_turbo):
                x = repaint.hold(x, t_next, noise, heard.clean, where)
        if keeps:
            x = repaint.blend(x, heard.clean, where, kept.frames)
        latents: Doubles = x * ask["latent_rescale"] + ask["latent_shift"]
        return latents

    def _evaluate(self, condition: Floats, context: Floats, options: Options) -> Evaluate:
        """The DiT with a condition [L, H] and a context [T, 128]; it wants an even number of frames."""
        frames = len(context)
        even = frames + frames % 2

        def velocity(x: Doubles, t: float, hidden: Floats) -> Doubles:
            inputs = {
                "hidden_states": _lengthen(x.astype(np.float32), even)[None],
                "timestep": np.array([[t]], np.float32),
                "encoder_hidden_states": hidden[None],
                "encoder_mask": np.ones((1, len(hidden)), np.bool_),
                "context_latents": _lengthen(context, even)[None],
                "latent_mask": np.arange(even)[None] < frames,
            }
            (found,) = self.run(f"{self.dit}-dit", inputs)
            return found[0, :frames].astype(np.float64)

        def both(x: Doubles, t: float) -> tuple[Doubles, Doubles | None]:
            if not options.guides(t):
                return velocity(x, t, condition), None
            null = np.tile(np.load(self._folder / "null_condition.npy"), (len(condition), 1))
            return velocity(x, t, condition), velocity(x, t, null)

        return both

    def _hear(self, ask: Mapping[str, Any], where: masks.Canvas, audio: Floats | None) -> Heard:
        """What a song follows: codes, a source, or silence."""
        mask = masks.mask(ask["task"], ask["chunk_mask_mode"], where)
        if ask["codes"] is not None:
            hints = masks.fill(self._detokenize(np.array(ask["codes"][0], np.int64)), self.silence, where.visible)
            # Upstream starts a cover of codes from what the codes sound like.
            return Heard(hints, hints, masks.context(hints, mask))
        if audio is None or masks.is_silent(audio):
            clean = masks.silence_frames(self.silence, where.visible)
        else:
            clean = masks.fill(self._encode(audio, ask["seeds"][0], "vae"), self.silence, where.visible)
        seen = masks.followed(ask["task"], clean, self.silence, where)
        start = seen
        if ask["task"] == "cover" and audio is not None:
            fives = np.concatenate([seen, masks.silence_frames(self.silence, 5)])[: -(-where.visible // 5) * 5]
            (codes,) = self.run(f"{self.dit}-tokenize", {"latents": fives[None]})
            seen = self._detokenize(codes[0])[: where.visible]
        return Heard(clean, start, masks.context(seen, mask))

    def _detokenize(self, codes: npt.NDArray[np.int64]) -> Floats:
        (latents,) = self.run(f"{self.dit}-detokenize", {"codes": codes[None]})
        found: Floats = latents[0]
        return found

    def _encode(self, audio: Floats, seed: int, purpose: str) -> Floats:
        """A draw from the VAE's posterior of audio, filled up with zeros to whole frames."""
        samples = masks.frames_of(audio.shape[1]) * masks.HOP
        whole = np.concatenate([audio, np.zeros((2, samples - audio.shape[1]), np.float32)], axis=1)
        mean, std = self.run("vae_encoder", {"audio": whole[None]})
        drawn: Floats = mean[0] + std[0] * draw_normal(seed, purpose, mean[0].shape)
        return drawn

    def _timbre(self, reference: Floats | None, seed: int) -> Floats:
        heard = None if reference is None else timbre.windows(reference)
        if heard is None:
            return masks.silence_frames(self.silence, 750)
        return self._encode(heard, seed, "vae reference")

    def _condition(self, caption_text: str, lyric_text: str, colour: Floats) -> Floats:
        """What the DiT attends to, [L, H]."""
        text, lyrics = self._ids(caption_text, 256), self._ids(lyric_text, 2_048)
        everything = np.ones(text.shape, np.bool_), np.ones(lyrics.shape, np.bool_)
        (text_hidden,) = self.run("text_encoder", {"input_ids": text, "attention_mask": everything[0]})
        (lyric_hidden,) = self.run("lyric_embedding", {"input_ids": lyrics})
        hidden, mask = self.run(f"{self.dit}-condition", {
            "text_hidden_states": text_hidden, "text_mask": everything[0], "lyric_hidden_states": lyric_hidden,
            "lyric_mask": everything[1], "refer_latents": colour[None]})
        assert mask.all(), "a song by itself has no padding"
        found: Floats = hidden[0]
        return found

    def _ids(self, text: str, limit: int) -> npt.NDArray[np.int64]:
        tokenizer = Tokenizer.from_file(str(self.repository / "acestep" / "1" / "tokenizer" / "tokenizer.json"))
        tokenizer.enable_truncation(limit)
        return np.array([tokenizer.encode(text).ids], np.int64)


def _follows(ask: Mapping[str, Any]) -> bool:
    """Whether a source that came with the request is used."""
    return ask["codes"] is None and ask["task"] != "text2music"


def _place(ask: Mapping[str, Any], source: Floats | None) -> masks.Placed:
    """The song's time line: the source's where one is used, else as long as asked or as the codes are."""
    if _follows(ask) and source is not None:
        is_region = ask["task"] in masks.REGION_TASKS
        return masks.place(source, ask["repaint_start"], ask["repaint_end"]) if is_region \
            else masks.place(source, 0.0, None)
    seconds = ask.get("duration") or len(ask["codes"][0]) / 5
    return masks.place(np.zeros((2, round(seconds * masks.RATE)), np.float32), 0.0, None)


def _options(ask: Mapping[str, Any], is_turbo: bool) -> Options:
    return Options(
        is_turbo=is_turbo,
        method=ask["infer_method"],
        is_heun=ask["sampler_mode"] == "heun",
        guidance=ask["guidance_scale"],
        by_angle=ask["use_adg"],
        interval=(ask["cfg_interval"][0], ask["cfg_interval"][1]),
        norm_threshold=ask["velocity_norm_threshold"],
        ema=ask["velocity_ema_factor"],
        dcw=ask["dcw_mode"] if ask["dcw_enabled"] else "",
        dcw_scaler=ask["dcw_scaler"],
        dcw_high_scaler=ask["dcw_high_scaler"],
    )


def _lengthen(rows: Floats, length: int) -> Floats:
    """Rows of zeros after the last one."""
    return np.concatenate([rows, np.zeros((length - len(rows), rows.shape[1]), np.float32)])
