"""The songs that the pipeline and an oracle make both: one for each task, option and edge, all of them short."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from tests.support.oracle.masks import Floats

SEED = 77
TEXT = {"caption": "a slow waltz for two guitars", "lyrics": "[verse]\nLa lune 🌙\n月亮", "vocal_language": "fr"}
TURBO, BASE = "acestep-tiny-turbo", "acestep-tiny-base"
CODES = [(i * 7_919) % 64_000 for i in range(50)]


@cache
def tune(seconds: float, seed: int = 0) -> Floats:
    """Stereo sound that is no noise: a few gliding tones, float32 [2, n]."""
    t = np.arange(round(48_000 * seconds)) / 48_000
    tones = [np.sin(2 * np.pi * f * t * (1 + 0.01 * t)) for f in np.random.default_rng(seed).uniform(80, 2_000, 6)]
    return np.stack([np.sum(tones[:4], axis=0), np.sum(tones[2:], axis=0)]).astype(np.float32) / 5


@dataclass(frozen=True)
class Case:
    """A song: the model, the request's own fields, seconds of its source and reference.

    The source is a tune `loudness` times as loud; `is_silent`, it is far below what is heard as sound. With
    `with_audio` the audio is compared too. `diffusers` are the arguments with which diffusers makes the same song, None
    where it does not; `note` says why, or in what it differs.
    """

    model: str
    request: dict[str, Any]
    source: float | None = None
    reference: float | None = None
    is_silent: bool = False
    loudness: float = 1.0
    with_audio: bool = False
    diffusers: dict[str, Any] | None = None
    note: str = ""

    def asked(self) -> dict[str, Any]:
        """The request's fields."""
        return {"model": self.model, "seeds": [SEED], **TEXT, **self.request}

    def audio(self) -> Floats | None:
        """The source."""
        if self.source is None:
            return None
        sound = self.loudness * tune(self.source)
        return np.full_like(sound, 5e-7) if self.is_silent else sound

    def reference_audio(self) -> Floats | None:
        """The reference."""
        return None if self.reference is None else tune(self.reference, seed=1)


def _base(source: float | None = None, **request: Any) -> Case:
    return Case(BASE, {"steps": 4, "guidance_scale": 4.0, **request}, source)


def _song(**request: Any) -> Case:
    return Case(TURBO, {"duration": 10, "steps": 4, **request})


def _with(case: Case, **request: Any) -> Case:
    return replace(case, request=case.request | request)


# What diffusers 0.42 does otherwise: seen by running it, or in what its pipeline accepts.
_OFF_GRID = "refuses sources off the frame grid"
_SHORT = "fills nothing up to 128 frames"
_STRENGTH = "mixes the velocities of two conditions"
_SILENT = "encodes silence"
_OUTSIDE = "cuts regions at the source's ends"
_SDE = "has no SDE"
_GUIDED = {"guidance_scale": 4.0}
_OF_EXTRACT = {"task_type": "extract", "track_name": "vocals", **_GUIDED}

_COVER = Case(TURBO, {"task": "cover", "steps": 4}, source=10.0)
_REPAINT = Case(TURBO, {"task": "repaint", "repaint_start": 2.5, "repaint_end": 6.02, "steps": 4}, source=10.0)
_TO_THE_END = Case(TURBO, {"task": "repaint", "repaint_start": 4.0, "steps": 4}, source=10.013)
_LEGO = _base(10.0, task="lego", tracks=["bass"], repaint_start=3.0, repaint_end=8.0)
_EXTRACT = _base(task="extract", tracks=["vocals"])
_COMPLETE = _base(task="complete", tracks=["bass", "drums"])
_APG, _ADG = _base(duration=10), _base(duration=10, use_adg=True)

TASKS: dict[str, Case] = {
    "text2music": Case(TURBO, {"duration": 10, "steps": 8}, diffusers={}),
    "text2music, 10.013 s": replace(_song(duration=10.013), diffusers={}),
    "text2music, APG": replace(_APG, diffusers=_GUIDED),
    "text2music, APG in an interval": replace(
        _with(_APG, cfg_interval=[0.3, 0.8], steps=6, shift=2.5),
        diffusers={**_GUIDED, "cfg_interval_start": 0.2, "cfg_interval_end": 0.7, "shift": 2.5}),
    "text2music, ADG": replace(_ADG, note="has no ADG"),
    "text2music, SDE on a turbo": replace(_song(infer_method="sde"), note=_SDE),
    "text2music, SDE on a base": replace(_with(_APG, infer_method="sde"), note=_SDE),
    "text2music, own times": replace(
        _song(timesteps=[0.97, 0.76, 0.5, 0.3]),
        diffusers={"timesteps": [0.9545454545454546, 0.7692307692307693, 0.5, 0.3]}),
    "reference, 41 s": Case(TURBO, {"duration": 10, "steps": 4}, reference=41.0, diffusers={}),
    "reference, 8 s": Case(TURBO, {"duration": 10, "steps": 4}, reference=8.0, diffusers={}),
    "cover": replace(_COVER, diffusers={"task_type": "cover"}),
    "cover, 10.013 s": replace(_COVER, source=10.013, note=_OFF_GRID),
    "cover, 3.2 s": replace(_COVER, source=3.2, note=_SHORT),
    "cover, strength 0.5": replace(_with(_COVER, cover_strength=0.5), note=_STRENGTH),
    "cover, silent source": replace(_COVER, is_silent=True, note=_SILENT),
    "codes": Case(TURBO, {"codes": [CODES], "steps": 4}, diffusers={
        "audio_codes": "".join(f"<|audio_code_{code}|>" for code in CODES)}),
    "codes, fewer than the song has": _song(codes=[CODES[:40]]),
    "repaint, inside": replace(_REPAINT, diffusers={
        "task_type": "repaint", "repainting_start": 2.5, "repainting_end": 6.02}),
    "repaint, to the end of 10.013 s": replace(_TO_THE_END, note=_OFF_GRID),
    "repaint, past the end": replace(_with(_REPAINT, repaint_start=8.0, repaint_end=12.0), note=_OUTSIDE),
    "repaint, from before the begin": replace(
        _with(_REPAINT, repaint_start=-2.0, repaint_end=3.0), note=_OUTSIDE),
    "repaint, 3.2 s": Case(
        TURBO, {"task": "repaint", "repaint_start": 1.0, "repaint_end": 2.0, "steps": 4}, 3.2, note=_SHORT),
    "repaint, silent source": replace(_REPAINT, is_silent=True, note=_SILENT),
    "extract, 10 s": replace(_EXTRACT, source=10.0, diffusers=_OF_EXTRACT),
    "extract, louder than 1": replace(_EXTRACT, source=10.0, loudness=3.0, note="does not clamp sources"),
    "extract, 10.04 s": replace(_EXTRACT, source=10.04, diffusers=_OF_EXTRACT),
    "extract, 10.013 s": replace(_EXTRACT, source=10.013, note=_OFF_GRID),
    "complete, 10 s": replace(_COMPLETE, source=10.0, diffusers={
        "task_type": "complete", "complete_track_classes": ["bass", "drums"], **_GUIDED}),
    "complete, 3.2 s": replace(_COMPLETE, source=3.2, note=_SHORT),
    "lego, region": replace(_LEGO, diffusers={
        "task_type": "lego", "track_name": "bass", "repainting_start": 3.0, "repainting_end": 8.0, **_GUIDED}),
    "lego, whole": replace(_base(10.0, task="lego", tracks=["bass"]), diffusers={
        "task_type": "lego", "track_name": "bass", **_GUIDED}),
    "lego, 3.2 s": replace(_base(3.2, task="lego"), note=_SHORT),
    "lego, strength 0.5": replace(_with(_LEGO, cover_strength=0.5), note=_STRENGTH),
}

OPTIONS: dict[str, Case] = {
    "DCW double": _song(dcw_enabled=True),
    "DCW double, an odd number of frames": _song(dcw_enabled=True, duration=10.013),
    "DCW low": _song(dcw_enabled=True, dcw_mode="low", dcw_scaler=0.1),
    "DCW high": _song(dcw_enabled=True, dcw_mode="high", dcw_scaler=0.1),
    "DCW pix": _song(dcw_enabled=True, dcw_mode="pix", dcw_scaler=0.1),
    "DCW low band alone of double": _song(dcw_enabled=True, dcw_high_scaler=0.0),
    "DCW on a base": _with(_APG, dcw_enabled=True, dcw_wavelet="haar"),
    "DCW, SDE": _song(dcw_enabled=True, infer_method="sde"),
    "Heun": _song(sampler_mode="heun"),
    "Heun, one step": _song(sampler_mode="heun", steps=1),
    "Heun, APG": _with(_APG, sampler_mode="heun"),
    "Heun, ADG": _with(_ADG, sampler_mode="heun"),
    "Heun, APG in an interval": _with(_APG, sampler_mode="heun", cfg_interval=[0.3, 0.8]),
    "Heun is Euler with SDE": _song(sampler_mode="heun", infer_method="sde"),
    "Heun, cover strength 0.5": _with(_COVER, sampler_mode="heun", cover_strength=0.5),
    "velocity clamp": _song(velocity_norm_threshold=0.5),
    "velocity clamp that is never reached": _song(velocity_norm_threshold=10.0),
    "velocity clamp, APG": _with(_APG, velocity_norm_threshold=0.8),
    "velocity EMA": _song(velocity_ema_factor=0.3),
    "velocity EMA, APG": _with(_APG, velocity_ema_factor=0.3),
    "velocity EMA, SDE": _song(velocity_ema_factor=0.3, infer_method="sde"),
    "latent shift": _song(latent_shift=0.1),
    "latent rescale": Case(TURBO, {"duration": 10, "steps": 4, "latent_rescale": 0.9}, with_audio=True),
    "repaint balanced": replace(_with(_REPAINT, repaint_mode="balanced"), with_audio=True),
    "repaint balanced, strength 0.3": _with(_REPAINT, repaint_mode="balanced", repaint_strength=0.3),
    "repaint balanced, strength 1": replace(
        _with(_REPAINT, repaint_mode="balanced", repaint_strength=1.0), with_audio=True),
    "repaint conservative": replace(_with(_REPAINT, repaint_mode="conservative"), with_audio=True),
    "repaint conservative, to the end": _with(_TO_THE_END, repaint_mode="conservative"),
    "repaint conservative on a base": Case(BASE, {**_REPAINT.request, "guidance_scale": 4.0,
                                                  "repaint_mode": "conservative"}, source=10.0),
    "repaint conservative, SDE": _with(_REPAINT, repaint_mode="conservative", infer_method="sde"),
    "repaint balanced, 3.2 s": Case(TURBO, {"task": "repaint", "repaint_start": 1.0, "repaint_end": 2.0, "steps": 4,
                                            "repaint_mode": "balanced"}, 3.2),
    "repaint balanced, past the end": _with(_REPAINT, repaint_start=8.0, repaint_end=12.0, repaint_mode="balanced"),
    "repaint aggressive": replace(_with(_REPAINT, repaint_mode="aggressive"), with_audio=True),
    "lego balanced": replace(_with(_LEGO, repaint_mode="balanced"), with_audio=True),
    "lego conservative": _with(_LEGO, repaint_mode="conservative"),
    "cover noise 0.4": _with(_COVER, cover_noise_strength=0.4, steps=8),
    "cover noise between two times": _with(_COVER, cover_noise_strength=0.4375, steps=8, shift=1.0),
    "cover noise 1": _with(_COVER, cover_noise_strength=1.0),
    "cover noise and strength": _with(_COVER, cover_noise_strength=0.4, cover_strength=0.5, steps=8),
    "cover noise on a base": Case(BASE, {"task": "cover", "steps": 6, "guidance_scale": 4.0,
                                         "cover_noise_strength": 0.3}, source=10.0),
    "cover noise, silent source": replace(_with(_COVER, cover_noise_strength=0.4), is_silent=True),
    "cover noise, codes": _song(codes=[CODES], cover_noise_strength=0.4, steps=8),
    "cover noise, a cover of codes": _song(task="cover", codes=[CODES], cover_noise_strength=0.4, steps=8),
    "cover-nofsq": _with(_COVER, task="cover-nofsq"),
    "cover-nofsq, strength 0.5, noise 0.4": _with(
        _COVER, task="cover-nofsq", cover_strength=0.5, cover_noise_strength=0.4, steps=8),
    "mask auto, text2music": _song(chunk_mask_mode="auto"),
    "mask auto, cover strength 0.5": _with(_COVER, chunk_mask_mode="auto", cover_strength=0.5),
    "mask auto, repaint": _with(_REPAINT, chunk_mask_mode="auto"),
    "mask auto, complete, 3.2 s": _with(replace(_COMPLETE, source=3.2), chunk_mask_mode="auto"),
    "mask ones, repaint": _with(_REPAINT, chunk_mask_mode="ones"),
    "mask ones, lego, 3.2 s": _base(3.2, task="lego", chunk_mask_mode="ones"),
    "mask explicit, repaint": _with(_REPAINT, chunk_mask_mode="explicit"),
    "a global caption, on a model that was not trained on stems": _with(_LEGO, global_caption="a whole band"),
}

TOGETHER: dict[str, Case] = {
    "DCW, Heun, clamp, EMA": _song(dcw_enabled=True, sampler_mode="heun", velocity_norm_threshold=0.7,
                                   velocity_ema_factor=0.2),
    "DCW, Heun, clamp, EMA, APG": _with(_APG, dcw_enabled=True, sampler_mode="heun", velocity_norm_threshold=0.7,
                                        velocity_ema_factor=0.2),
    "DCW, Heun, clamp, EMA, ADG": _with(_ADG, dcw_enabled=True, sampler_mode="heun", velocity_norm_threshold=0.7,
                                        velocity_ema_factor=0.2),
    "DCW, SDE, clamp, EMA, APG": _with(_APG, dcw_enabled=True, infer_method="sde", velocity_norm_threshold=0.7,
                                       velocity_ema_factor=0.2),
    "repaint conservative, DCW, Heun, mask auto, shift and rescale": replace(_with(
        _REPAINT, repaint_mode="conservative", dcw_enabled=True, sampler_mode="heun", chunk_mask_mode="auto",
        latent_shift=0.05, latent_rescale=0.95), with_audio=True),
    "cover noise and strength, DCW, EMA": _with(
        _COVER, cover_noise_strength=0.4, cover_strength=0.5, dcw_enabled=True, velocity_ema_factor=0.3, steps=8),
    "lego balanced, DCW, EMA, strength 0.5": _with(
        _LEGO, repaint_mode="balanced", dcw_enabled=True, velocity_ema_factor=0.3, cover_strength=0.5),
}

CASES = TASKS | OPTIONS | TOGETHER

# A model with XL's proportions (tests/test_xl_models.py), by its own repository.
_XL = Case("acestep-tiny-xl-base", {"duration": 10, "steps": 4, "guidance_scale": 4.0})
XL: dict[str, Case] = {
    "XL, text2music": replace(_XL, diffusers=_GUIDED, note="leaves out the timbre's special token"),
    "XL, reference, 41 s": replace(_XL, reference=41.0),
    "XL, cover": replace(_with(_XL, task="cover"), source=10.0),
    "XL, extract, 10.013 s": replace(_with(_XL, task="extract", tracks=["vocals"]), source=10.013),
    "XL, Heun and DCW": _with(_XL, sampler_mode="heun", dcw_enabled=True),
}
