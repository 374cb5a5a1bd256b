"""How tensors are named in an upstream checkpoint and in diffusers' modules. Pure: names in, names out.

Upstream keeps one model in one safetensors file; diffusers has four modules for it. The renaming is the one of
diffusers' own converter (scripts/convert_ace_step_to_diffusers.py in huggingface/diffusers).
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache

from .errors import ExportError

Shapes = Mapping[str, tuple[int, ...]]

PREFIXES: Mapping[str, str] = {
    "decoder.": "transformer",
    "encoder.": "condition_encoder",
    "tokenizer.": "audio_tokenizer",
    "detokenizer.": "audio_token_detokenizer",
}
MODULES = tuple(PREFIXES.values())

# Upstream's patchify layers are Sequential(Lambda, Conv, Lambda): only index 1 has parameters.
_PATCHIFY = {"proj_in.1.": "proj_in_conv.", "proj_out.1.": "proj_out_conv."}
_ATTENTION = {
    "q_proj": "to_q",
    "k_proj": "to_k",
    "v_proj": "to_v",
    "o_proj": "to_out.0",
    "q_norm": "norm_q",
    "k_norm": "norm_k",
}


@lru_cache(maxsize=4096)
def to_diffusers(key: str) -> tuple[str, str] | None:
    """Module and parameter name in diffusers of one upstream key; None for a name upstream does not have."""
    if key == "null_condition_emb":
        return "condition_encoder", key
    for prefix, module in PREFIXES.items():
        if key.startswith(prefix):
            name = _rename(key.removeprefix(prefix), module)
            # Two names for one parameter would let a file in that upstream never wrote.
            return (module, name) if to_upstream(module, name) == key else None
    return None


def _rename(name: str, module: str) -> str:
    if module == "transformer":
        for upstream, ours in _PATCHIFY.items():
            if name.startswith(upstream):
                return ours + name.removeprefix(upstream)
    parts = name.split(".")
    for i in range(1, len(parts)):
        if parts[i - 1] in ("self_attn", "cross_attn") and parts[i] in _ATTENTION:
            parts[i] = _ATTENTION[parts[i]]
    return ".".join(parts)


def to_upstream(module: str, name: str) -> str:
    """Inverse of `to_diffusers`."""
    if module == "condition_encoder" and name == "null_condition_emb":
        return name
    if module == "transformer":
        for upstream, ours in _PATCHIFY.items():
            if name.startswith(ours):
                name = upstream + name.removeprefix(ours)
    for upstream, ours in _ATTENTION.items():
        for block in ("self_attn", "cross_attn"):
            name = name.replace(f"{block}.{ours}.", f"{block}.{upstream}.")
    prefix = next(prefix for prefix, owner in PREFIXES.items() if owner == module)
    return prefix + name


def split(keys: Iterable[str]) -> dict[str, dict[str, str]]:
    """Per diffusers module: its parameter names -> the upstream keys they come from.

    Raises ExportError for a key that belongs to no module.
    """
    modules: dict[str, dict[str, str]] = {module: {} for module in MODULES}
    for key in keys:
        target = to_diffusers(key)
        if target is None:
            raise ExportError(f"unexpected key {key}")
        module, name = target
        modules[module][name] = key
    return modules


def check(upstream: Shapes, modules: Mapping[str, Shapes]) -> None:
    """Raises ExportError naming the first upstream key that is missing, too much or of another shape.

    upstream: key in the checkpoint -> shape. modules: diffusers module -> its parameter names -> shapes.
    """
    sources = split(upstream)
    for module, expected in modules.items():
        found = {name: upstream[key] for name, key in sources[module].items()}
        shown = {name: to_upstream(module, name) for name in expected}
        check_names(found, expected, shown | sources[module])


def check_names(found: Shapes, expected: Shapes, rename: Mapping[str, str] | None = None) -> None:
    """Raises ExportError naming the first missing, unexpected or wrongly shaped key.

    found, expected: parameter name -> shape. rename: parameter name -> the name the user knows it by.
    """
    shown = rename or {}
    for name in expected:
        if name not in found:
            raise ExportError(f"missing key {shown.get(name, name)}")
    for name, shape in found.items():
        if name not in expected:
            raise ExportError(f"unexpected key {shown.get(name, name)}")
        if tuple(shape) != tuple(expected[name]):
            raise ExportError(f"key {shown.get(name, name)} has shape {list(shape)}, expected {list(expected[name])}")
