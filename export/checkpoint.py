"""Upstream's checkpoints into diffusers' and transformers' modules, strictly; nothing of a checkpoint is executed."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AceStepTransformer1DModel, AutoencoderOobleck, FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.ace_step.modeling_ace_step import (
    AceStepAudioTokenDetokenizer,
    AceStepAudioTokenizer,
    AceStepConditionEncoder,
)
from torch import nn
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

from . import module_configs, oobleck, timbre_token
from .errors import ExportError
from .layout import SILENCE, VAE_WEIGHTS, Checkpoints, DitConfig, read_config
from .upstream_keys import check, check_names, split
from .weights import Weights

SILENCE_FRAMES = 15_000  # 600 s at 25 Hz

_MODULES: Mapping[str, tuple[type[Any], Callable[[DitConfig], module_configs.Arguments]]] = {
    "transformer": (AceStepTransformer1DModel, module_configs.transformer),
    "condition_encoder": (AceStepConditionEncoder, module_configs.condition_encoder),
    "audio_tokenizer": (AceStepAudioTokenizer, module_configs.audio_tokenizer),
    "audio_token_detokenizer": (AceStepAudioTokenDetokenizer, module_configs.audio_token_detokenizer),
}


@dataclass(frozen=True)
class Parts:
    """Every part of one model, fp32 on the CPU, in evaluation mode."""

    config: DitConfig
    transformer: Any
    condition_encoder: Any
    audio_tokenizer: Any
    audio_token_detokenizer: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any

    def pipeline_arguments(self) -> dict[str, Any]:
        """Keyword arguments of diffusers' AceStepPipeline."""
        names = (*_MODULES, "vae", "text_encoder", "tokenizer")
        scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0)
        return {name: getattr(self, name) for name in names} | {"scheduler": scheduler}


def load_parts(checkpoints: Path, model: str) -> Parts:
    """All parts of `<checkpoints>/<model>`, with the VAE and the text encoder beside it.

    Raises ExportError, one line naming the folder, file or key, when anything is missing or does not fit.
    """
    chosen = Checkpoints.choose(checkpoints, (model,))
    chosen.check()
    return Parts(
        config=chosen.dit(model),
        **load_dit(chosen.dit(model)),
        vae=load_vae(chosen.vae),
        text_encoder=load_text_encoder(chosen.text_encoder),
        tokenizer=load_tokenizer(chosen.text_encoder),
    )


def verify(checkpoints: Checkpoints) -> None:
    """Everything that `load_parts` would refuse, for all chosen models, without reading a large tensor."""
    checkpoints.check()
    for name in checkpoints.models:
        _checked_dit(checkpoints.dit(name))
        read_silence(checkpoints.dit(name))
    _checked_vae(checkpoints.vae)
    _checked_text_encoder(checkpoints.text_encoder)
    load_tokenizer(checkpoints.text_encoder)


def load_dit(config: DitConfig) -> dict[str, Any]:
    """The four diffusers modules that one upstream DiT folder holds, by their names in AceStepPipeline."""
    modules, weights = _checked_dit(config)
    sources = split(weights.shapes)
    for name, module in modules.items():
        renamed = {upstream: ours for ours, upstream in sources[name].items()}
        state = {renamed[key]: tensor for key, tensor in weights.read(list(renamed))}
        if name == "condition_encoder":
            state["silence_latent"] = read_silence(config)[None]
        _assign(module, state)
    modules["audio_tokenizer"].quantizer = _with_real_buffers(modules["audio_tokenizer"].quantizer)
    return {name: _finished(module) for name, module in modules.items()}


def meta_modules(config: DitConfig) -> dict[str, Any]:
    """diffusers' modules for this config, without storage; an XL model's timbre encoder is our `TokenTimbreEncoder`."""
    with torch.device("meta"):
        modules = {name: make(**arguments(config)) for name, (make, arguments) in _MODULES.items()}
        if config.prepends_timbre_token:
            timbre_token.prepend(modules["condition_encoder"])
    return modules


def parameter_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of what a checkpoint must hold for this module. The silence latent is a file of its own."""
    state = module.state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items() if name != "silence_latent"}


def read_silence(config: DitConfig) -> torch.Tensor:
    """silence_latent.pt, stored [1, 64, 15000], as float32 [15000, 64]."""
    path = config.folder / SILENCE
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds; none of them is for the user
        raise ExportError(f"{path} is not a tensor file: {str(error).splitlines()[0]}") from None
    expected = (1, config.channels, SILENCE_FRAMES)
    if not isinstance(stored, torch.Tensor) or tuple(stored.shape) != expected:
        shape = list(stored.shape) if isinstance(stored, torch.Tensor) else type(stored).__name__
        raise ExportError(f"{path} holds {shape}, expected {list(expected)}")
    return stored[0].T.to(torch.float32).contiguous()


def load_vae(folder: Path) -> Any:
    """AutoencoderOobleck from a diffusers-format folder."""
    vae, weights = _checked_vae(folder)
    _assign(vae, dict(weights.read(list(weights.shapes))))
    return _finished(vae)


def load_text_encoder(folder: Path) -> Any:
    """Qwen3Model from a Hugging Face folder; keys with or without the `model.` prefix of a causal LM."""
    encoder, weights = _checked_text_encoder(folder)
    renamed = {key: name for name, key in _text_names(weights).items()}
    _assign(encoder, {renamed[key]: tensor for key, tensor in weights.read(list(renamed))})
    encoder.rotary_emb = type(encoder.rotary_emb)(encoder.config)  # its frequencies are not in the file
    return _finished(encoder)


def load_tokenizer(folder: Path) -> Any:
    """The text encoder's tokenizer, its post-processor included, padding on the right as upstream pads."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ExportError(f"{folder} has no tokenizer.json")
    settings_path = folder / "tokenizer_config.json"
    settings = json.loads(settings_path.read_text(encoding="utf-8")) if settings_path.is_file() else {}
    names = {key: settings.get(key) or "<|endoftext|>" for key in ("pad_token", "eos_token")}
    tokens = {key: name["content"] if isinstance(name, dict) else name for key, name in names.items()}
    try:
        return PreTrainedTokenizerFast(tokenizer_file=str(path), padding_side="right", **tokens)
    except Exception as error:  # the tokenizers library raises bare Exception
        raise ExportError(f"{path} is not a tokenizer: {str(error).splitlines()[0]}") from None


def _checked_dit(config: DitConfig) -> tuple[dict[str, Any], Weights]:
    weights = Weights.open(config.folder)
    with _naming(config.folder):
        with _constructing("an ACE-Step model"):
            modules = meta_modules(config)
        check(weights.shapes, {name: parameter_shapes(module) for name, module in modules.items()})
    return modules, weights


def _checked_vae(folder: Path) -> tuple[Any, Weights]:
    config = read_config(folder)
    weights = Weights.open(folder, VAE_WEIGHTS)
    with _naming(folder):
        with torch.device("meta"), _constructing("an Oobleck autoencoder"):
            vae = oobleck.build(AutoencoderOobleck, config)
        check_names(weights.shapes, parameter_shapes(vae))
    return vae, weights


def _checked_text_encoder(folder: Path) -> tuple[Any, Weights]:
    values = read_config(folder)
    if values.get("model_type") != "qwen3":
        raise ExportError(f"{folder / 'config.json'} has model_type {values.get('model_type')!r}, expected 'qwen3'")
    weights = Weights.open(folder)
    names = _text_names(weights)
    with _naming(folder):
        with torch.device("meta"), _constructing("a Qwen3 model"):
            encoder = Qwen3Model(Qwen3Config(**values))
        check_names({name: weights.shapes[key] for name, key in names.items()}, parameter_shapes(encoder), names)
    return encoder, weights


def _text_names(weights: Weights) -> dict[str, str]:
    """Parameter name -> key in the file; an embedding checkpoint may have been saved from the whole causal LM."""
    return {key.removeprefix("model."): key for key in weights.shapes if key != "lm_head.weight"}


@contextmanager
def _constructing(what: str) -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError, ArithmeticError) as error:
        raise ExportError(f"config.json does not describe {what}: {' '.join(str(error).split())}") from None


@contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Prefixes the error of a check with the folder it is about."""
    try:
        yield
    except ExportError as error:
        raise ExportError(f"{folder}: {error}") from None


def _assign(module: nn.Module, state: dict[str, torch.Tensor]) -> None:
    module.load_state_dict({key: tensor.to(torch.float32) for key, tensor in state.items()}, strict=True, assign=True)


def _with_real_buffers(quantizer: Any) -> Any:
    """The FSQ module again, off the meta device: its level tables are computed, not stored."""
    real = type(quantizer)(
        dim=quantizer.project_in.in_features, levels=quantizer.levels, num_quantizers=quantizer.num_quantizers
    )
    real.load_state_dict(quantizer.state_dict(), strict=True, assign=True)
    return real


def _finished(module: Any) -> Any:
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_meta:
            raise RuntimeError(f"{type(module).__name__}.{name} was never loaded")
    return module.eval().requires_grad_(False)
