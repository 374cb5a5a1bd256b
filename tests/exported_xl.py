"""A model of upstream's XL shape, exported with the embedded VAE and text encoder; shared by the tests about XL."""

from functools import cache
from pathlib import Path

from export import build, tiny_checkpoint
from export.cache import Cache
from export.digests import digest, sources
from tests import exported

NAME = "acestep-tiny-xl-base"
CODE = "modeling_acestep_v15_xl_base.AceStepConditionGenerationModel"
# XL's proportions: a DiT wider than its encoders, whose heads together are wider still.
WIDTHS = {
    "hidden_size": 80,
    "intermediate_size": 112,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "encoder_hidden_size": 48,
    "fsq_dim": 48,
    "encoder_intermediate_size": 96,
    "encoder_num_attention_heads": 4,
    "encoder_num_key_value_heads": 2,
}
XL = WIDTHS | {
    "auto_map": {"AutoConfig": "configuration_acestep_v15.AceStepConfig", "AutoModel": CODE},
    "is_turbo": False,
    "model_version": "xl_base",
    "num_hidden_layers": 2,
    "layer_types": ["sliding_attention", "full_attention"],
    "num_lyric_encoder_hidden_layers": 1,
    "num_timbre_encoder_hidden_layers": 2,
    "num_attention_pooler_hidden_layers": 1,
}


@cache
def checkpoints() -> Path:
    """A folder with the model, and the embedded VAE and text encoder; made once per recipe."""
    exported.repository()
    key = f"xl-{digest(sources(build._TINY_RECIPE), XL)}"
    made = Cache(exported.BUILD.resolve() / "checkpoints")
    if made.find(key) is None:
        with made.filling(key) as folder:
            tiny_checkpoint.write_dit(folder / NAME, XL, seed=7)
            share_the_rest(folder)
    return made.root / key


def share_the_rest(folder: Path) -> None:
    """Links the embedded VAE and text encoder into a folder of DiTs: their graphs need no second export."""
    for shared in ("vae", "Qwen3-Embedding-0.6B"):
        (folder / shared).symlink_to(exported.TINY.resolve() / shared)


@cache
def repository() -> Path:
    """The assembled repository of that folder."""
    return exported.assembled("--checkpoints", checkpoints())
