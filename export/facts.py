"""What the pipeline must know of a model, as JSON files beside it: facts.json per DiT, served.json for all."""

from collections.abc import Mapping, Sequence
from typing import Any

from contract.tasks import tasks_of

from .layout import DitConfig

# While the embedded checkpoint is served, the documents' model names mean its turbo model.
EMBEDDED_ALIASES = ("acestep-v15-turbo", "acestep-v15-turbo-shift3")

MAX_PROMPT_TOKENS = 256
MAX_LYRIC_TOKENS = 2048
# The decoder's receptive field is 8.34 frames on either side, whatever its width: it follows from strides and kernels.
OVERLAP_FRAMES = 10
# The same for the encoder: 6.34 frames.
ENCODER_OVERLAP_FRAMES = 8

Json = dict[str, Any]


def facts(config: DitConfig, name: str, aliases: Sequence[str], precision: str, digests: Mapping[str, str]) -> Json:
    """facts.json of one DiT."""
    turbo = config.is_turbo
    return {
        "name": name,
        "is_turbo": turbo,
        "tiny": config.is_tiny,
        "aliases": list(aliases),
        "tasks": list(tasks_of(turbo)),
        "steps": {"min": 1, "max": 20, "default": 8} if turbo else {"min": 1, "max": 200, "default": 32},
        "shift": {"default": 3.0, "choices": [1, 2, 3]} if turbo else {"default": 3.0, "min": 1, "max": 5},
        "precision": precision,
        "condition_width": config.condition_width,
        "patch_size": config.patch_size,
        "timbre_frames": config.timbre_frames,
        "timbre_token": config.prepends_timbre_token,
        "is_lego_sft": config.is_lego_sft,
        "max_prompt_tokens": MAX_PROMPT_TOKENS,
        "max_lyric_tokens": MAX_LYRIC_TOKENS,
        "digests": dict(digests),
        "audio_is_noise": config.is_tiny,
    }


def served(models: Sequence[str], embedded: bool, vae: Mapping[str, Any], lm: Json | None) -> Json:
    """served.json: the models of a repository, the first of them the default. vae: vae/config.json; lm: its facts."""
    hop = 1
    for ratio in vae["downsampling_ratios"]:
        hop *= int(ratio)
    return {
        "default": models[0],
        "models": list(models),
        "embedded": embedded,
        "vae": {
            "hop": hop,
            "sample_rate": int(vae["sampling_rate"]),
            "latent_channels": int(vae["decoder_input_channels"]),
            "overlap_frames": OVERLAP_FRAMES,
            "encoder_overlap_frames": ENCODER_OVERLAP_FRAMES,
        },
        "lm": lm,
    }
