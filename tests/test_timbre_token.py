"""XL models hear a reference behind a learned token, the others without it, whichever tensors they carry."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch
from diffusers.pipelines.ace_step.modeling_ace_step import AceStepConditionEncoder
from safetensors.numpy import load_file

from export import condition_graph, facts, module_configs, tiny_checkpoint
from export.checkpoint import Parts, load_parts
from export.graph import relative_error
from tests import exported, exported_xl
from tests.exported import CLOSE
from tests.exported import one_thread as one_thread

Array = npt.NDArray[np.float64]
TOKEN = "encoder.timbre_encoder.special_token"


class TimbreEncoder:
    """The timbre encoder in float64, from the tensors of a checkpoint's file.

    Qwen3's layers (https://arxiv.org/abs/2505.09388), attending both ways: RMSNorm, attention with grouped keys whose
    heads are normed and rotated (https://arxiv.org/abs/2104.09864), SwiGLU; even layers see `sliding_window` positions
    to either side. The first position is the timbre.
    """

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        stored = load_file(folder / "model.safetensors")
        own = {key: value for key, value in stored.items() if key.startswith("encoder.timbre_encoder.")}
        self.weights = {key.removeprefix("encoder.timbre_encoder."): own[key].astype(np.float64) for key in own}

    def __call__(self, latents: npt.NDArray[np.float32], token: bool) -> Array:
        """Reference latents [frames, 64] -> [H]; token: the learned token stands before the embedded frames."""
        w = self.weights
        x = latents.astype(np.float64) @ w["embed_tokens.weight"].T + w["embed_tokens.bias"]
        if token:
            x = np.concatenate([w["special_token"][0], x])
        for i in range(self.config["num_timbre_encoder_hidden_layers"]):
            x = x + self._attention(f"layers.{i}.", self._norm(x, f"layers.{i}.input_layernorm"), sliding=i % 2 == 0)
            normed = self._norm(x, f"layers.{i}.post_attention_layernorm")
            gate, up = (normed @ w[f"layers.{i}.mlp.{name}_proj.weight"].T for name in ("gate", "up"))
            x = x + (gate / (1 + np.exp(-gate)) * up) @ w[f"layers.{i}.mlp.down_proj.weight"].T
        return self._norm(x, "norm")[0]

    def _attention(self, layer: str, x: Array, sliding: bool) -> Array:
        width = self.config["head_dim"]

        def heads(name: str) -> Array:
            projected = x @ self.weights[f"{layer}self_attn.{name}_proj.weight"].T
            return projected.reshape(len(x), -1, width).swapaxes(0, 1)  # [heads, positions, width]

        query = self._rotated(self._norm(heads("q"), f"{layer}self_attn.q_norm"))
        key = self._rotated(self._norm(heads("k"), f"{layer}self_attn.k_norm"))
        shared = len(query) // len(key)  # query heads that share a key: neighbours
        key, value = np.repeat(key, shared, axis=0), np.repeat(heads("v"), shared, axis=0)
        scores = query @ key.swapaxes(1, 2) / np.sqrt(width)
        if sliding:
            place = np.arange(len(x))
            far = np.abs(place[:, None] - place) > self.config["sliding_window"]
            scores[:, far] = -np.inf
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = weights / weights.sum(axis=-1, keepdims=True) @ value
        return mixed.swapaxes(0, 1).reshape(len(x), -1) @ self.weights[f"{layer}self_attn.o_proj.weight"].T

    def _norm(self, x: Array, name: str) -> Array:
        scale = np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + self.config["rms_norm_eps"])
        return x / scale * self.weights[f"{name}.weight"]

    def _rotated(self, x: Array) -> Array:
        """Each pair of positions (i, i + half) of a head turned by place × theta^(-i / half); places count from 0."""
        half = x.shape[-1] // 2
        angles = np.arange(x.shape[1])[:, None] * float(self.config["rope_theta"]) ** (-np.arange(half) / half)
        first, second = x[..., :half], x[..., half:]
        cos, sin = np.cos(angles), np.sin(angles)
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def songs(width: int = 32) -> dict[str, npt.NDArray[Any]]:
    """Inputs of three songs in one call, padded, with the 750 frames of a reference."""
    random = np.random.default_rng(5)
    return {
        "text_hidden_states": random.standard_normal((3, 12, width), np.float32),
        "text_mask": np.arange(12) < np.array([[12], [1], [7]]),
        "lyric_hidden_states": random.standard_normal((3, 30, width), np.float32),
        "lyric_mask": np.arange(30) < np.array([[4], [30], [1]]),
        "refer_latents": random.standard_normal((3, 750, 64), np.float32),
    }


def timbres(packed: npt.NDArray[np.float32], inputs: dict[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
    """The row of each song that holds its timbre: the one behind its lyrics."""
    return packed[np.arange(len(packed)), inputs["lyric_mask"].sum(axis=1)]


def error(found: npt.NDArray[np.float32], folder: Path, latents: npt.NDArray[np.float32], token: bool) -> float:
    """Largest deviation of any song's timbre from the one computed here, in units of the largest value."""
    encoder = TimbreEncoder(folder)
    expected = np.stack([encoder(each, token) for each in latents])
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


# Repository, folder of the checkpoint, whether its timbre encoder reads the token.
EXPORTED: dict[str, tuple[Callable[[], Path], Callable[[], Path], bool]] = {
    exported_xl.NAME: (exported_xl.repository, exported_xl.checkpoints, True),
    exported.BASE: (exported.repository, lambda: exported.TINY, False),
    exported.TURBO: (exported.repository, lambda: exported.TINY, False),
}


@pytest.mark.parametrize("name", EXPORTED)
def test_the_exported_graph_and_its_facts_say_what_the_models_code_does(name):
    repository, checkpoints, token = EXPORTED[name]
    inputs = songs()
    session = onnxruntime.InferenceSession(repository() / f"{name}-condition" / "1" / "model.onnx")
    packed, mask = session.run(None, inputs)
    assert mask.sum(axis=1).tolist() == [4 + 1 + 12, 30 + 1 + 1, 1 + 1 + 7]  # the token adds no row to the condition
    found = timbres(packed, inputs)
    folder = checkpoints() / name
    assert TOKEN in load_file(folder / "model.safetensors")
    assert error(found, folder, inputs["refer_latents"], token) < CLOSE
    assert error(found, folder, inputs["refer_latents"], not token) > 0.5
    noted = json.loads((repository() / "acestep" / "1" / "models" / name / "facts.json").read_text())
    assert noted["timbre_token"] is token


def code(module: str) -> dict[str, Any]:
    """What a config.json says of the code that runs its model."""
    return {"auto_map": {"AutoModel": f"{module}.AceStepConditionGenerationModel"}}


WIDE = exported_xl.WIDTHS
# Upstream's XL code reads the encoders' widths from keys of their own, also where they are the DiT's.
EQUAL = {"encoder_hidden_size": 64, "encoder_intermediate_size": 128}
DECIDED: dict[str, tuple[dict[str, Any], bool]] = {
    "2B code and widths": (code("modeling_acestep_v15_base"), False),
    "XL code and widths": (WIDE | code("modeling_acestep_v15_xl_turbo"), True),
    "2B code, other widths": (WIDE | code("modeling_acestep_v15_base"), False),
    "XL code, equal widths": (EQUAL | code("modeling_acestep_v15_xl_base"), True),
    "2B code of an XL's repository": (WIDE | code("someone/my_xl_model--modeling_acestep_v15_base"), False),
    "XL code of another repository": (code("someone/model--modeling_acestep_v15_xl_base"), True),
    "no code named, other widths": (WIDE, True),
    "no code named, equal widths": (EQUAL, False),
    "no code named, one width": ({}, False),
    "only the config's code named, other widths": (WIDE | {"auto_map": {"AutoConfig": "my_xl_config.Config"}}, True),
    "code without a module, one width": ({"auto_map": {"AutoModel": "my_xl_model"}}, False),
}


@pytest.mark.parametrize(("config", "token"), DECIDED.values(), ids=DECIDED)
def test_the_code_that_the_config_names_decides_else_the_width(config, token, tmp_path):
    """The same tensors every time: the loader's modules, the graph and the facts follow the config."""
    name = "acestep-some-model"
    tiny_checkpoint.write_dit(tmp_path / name, config, seed=11)
    exported.repository()
    exported_xl.share_the_rest(tmp_path)
    parts = load_parts(tmp_path, name)
    inputs = songs()
    tensors = {key: torch.from_numpy(value) for key, value in inputs.items()}
    graph = condition_graph.graph(parts)
    by_graph, by_modules = graph.module(**tensors)[0], condition_of(parts.condition_encoder, inputs)
    for packed in (by_graph, by_modules):
        assert error(timbres(packed.numpy(), inputs), tmp_path / name, inputs["refer_latents"], token) < CLOSE
    noted = facts.facts(parts.config, name, (), "fp32", {})
    assert (noted["timbre_token"], TOKEN in load_file(tmp_path / name / "model.safetensors")) == (token, True)


def condition_of(encoder: Any, inputs: dict[str, npt.NDArray[Any]]) -> torch.Tensor:
    """What a condition encoder of diffusers makes of the songs."""
    tensors = {key: torch.from_numpy(value) for key, value in inputs.items()}
    packed: torch.Tensor = encoder(
        text_hidden_states=tensors["text_hidden_states"],
        text_attention_mask=tensors["text_mask"],
        lyric_hidden_states=tensors["lyric_hidden_states"],
        lyric_attention_mask=tensors["lyric_mask"],
        refer_audio_acoustic_hidden_states_packed=tensors["refer_latents"],
        refer_audio_order_mask=torch.arange(len(tensors["refer_latents"])),
    )[0]
    return packed


@pytest.fixture
def parts() -> Parts:
    return load_parts(exported_xl.checkpoints(), exported_xl.NAME)  # a test may change its tensors


def test_the_token_changes_nothing_but_the_timbre(parts):
    """diffusers' own condition encoder, with the same tensors, has every other row of an XL model right."""
    theirs = AceStepConditionEncoder(**module_configs.condition_encoder(parts.config))
    theirs.load_state_dict(parts.condition_encoder.state_dict())
    inputs = songs()
    with torch.no_grad():
        wrong = condition_of(theirs.eval(), inputs)
    right = condition_of(parts.condition_encoder, inputs)
    lyrics, text = (inputs[name].sum(axis=1, keepdims=True) for name in ("lyric_mask", "text_mask"))
    place = np.arange(right.shape[1])
    moved = (right != wrong).any(dim=-1).numpy() & (place < lyrics + 1 + text)
    timbre = place == lyrics
    assert np.array_equal(moved, timbre)


def test_what_the_export_compares_an_xl_graph_with_has_the_token(parts):
    """A graph without the token would be refused: its expected values move with the token."""
    cases = list(condition_graph.graph(parts).cases(torch.float32))
    parts.condition_encoder.timbre_encoder.special_token.zero_()
    module = condition_graph.graph(parts).module
    for case in cases:
        packed, mask = module(**case.inputs)
        outputs = {"encoder_hidden_states": packed.numpy(), "encoder_mask": mask.numpy()}
        assert relative_error(case, outputs) > 0.1
