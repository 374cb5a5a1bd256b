"""Models whose condition encoder has a size of its own (upstream's XL) load and export like the others."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from diffusers import AceStepPipeline

from export.checkpoint import Parts, load_parts
from pipeline import facts
from tests import exported, exported_xl
from tests.exported import one_thread as one_thread
from tests.exported_xl import NAME

KINDS = ("condition", "detokenize", "dit", "tokenize")


@pytest.fixture(scope="module")
def repository() -> Path:
    return exported_xl.repository()


@pytest.fixture(scope="module")
def parts() -> Parts:
    return load_parts(exported_xl.checkpoints(), NAME)


def test_only_the_models_own_graphs_are_exported_with_it(repository):
    shared = exported.repository()
    for name in ("text_encoder", "lyric_embedding", "vae_encoder", "vae_decoder"):
        assert (repository / name / "manifest.json").read_text() == (shared / name / "manifest.json").read_text()


def test_every_graph_equals_pytorch_at_its_own_widths(repository):
    """The export itself compares; here it is shown that it did, and with which widths.

    All expected values are diffusers' but the timbre, where diffusers is wrong for XL (test_timbre_token.py).
    """
    widths: dict[tuple[str, str], int] = {}
    for kind in KINDS:
        folder = repository / f"{NAME}-{kind}"
        errors = json.loads((folder / "manifest.json").read_text())["max_relative_error"]
        assert len(errors) >= 3
        assert max(errors.values()) <= exported.CLOSE
        graph = onnx.load(folder / "1" / "model.onnx").graph
        for port in (*graph.input, *graph.output):
            widths[kind, port.name] = port.type.tensor_type.shape.dim[-1].dim_value
    assert widths["condition", "encoder_hidden_states"] == widths["dit", "encoder_hidden_states"] == 48
    assert widths["dit", "velocity"] == widths["detokenize", "latents"] == widths["tokenize", "latents"] == 64
    for kind in ("dit", "condition", "conditioning"):
        config = (repository / f"{NAME}-{kind}" / "config.pbtxt").read_text()
        assert 'name: "encoder_hidden_states" data_type: TYPE_FP32 dims: [ -1, -1, 48 ]' in config


def test_the_modules_have_their_sizes(parts):
    assert parts.transformer.condition_embedder.weight.shape == (80, 48)
    assert parts.transformer.layers[0].self_attn.to_q.weight.shape == (128, 80)
    assert parts.condition_encoder.text_projector.weight.shape == (48, 32)
    assert parts.audio_tokenizer.quantizer.project_in.weight.shape == (6, 48)
    assert parts.audio_token_detokenizer.proj_out.weight.shape == (64, 48)


def test_the_pipeline_reads_its_facts(repository):
    dit = facts.load(repository / "acestep" / "1" / "models").choose(NAME)
    assert dit.facts["condition_width"] == 48
    assert dit.null_condition is not None
    assert dit.null_condition.shape == (48,)
    assert "lego" in dit.tasks


def test_the_null_condition_stands_where_the_encoders_output_stood(repository, parts):
    """One call with a song's row and its null row: diffusers' two rows, the null one of the encoder's width."""
    null = np.load(repository / "acestep" / "1" / "models" / NAME / "null_condition.npy")
    random = np.random.default_rng(0)
    condition = random.standard_normal((1, 21, 48), np.float32)
    twice = {
        "hidden_states": random.standard_normal((1, 130, 64), np.float32).repeat(2, axis=0),
        "context_latents": random.standard_normal((1, 130, 128), np.float32).repeat(2, axis=0),
        "encoder_hidden_states": np.concatenate([condition, np.broadcast_to(null, condition.shape)]),
    }
    masks = {"encoder_mask": np.ones((2, 21), bool), "latent_mask": np.ones((2, 130), bool)}
    session = onnxruntime.InferenceSession(repository / f"{NAME}-dit" / "1" / "model.onnx")
    (velocity,) = session.run(None, {**twice, **masks, "timestep": np.full((2, 1), 0.6, np.float32)})

    tensors = {name: torch.from_numpy(value) for name, value in twice.items()}
    emptied = parts.condition_encoder.null_condition_emb.expand(1, 21, -1)
    tensors["encoder_hidden_states"] = torch.cat([torch.from_numpy(condition), emptied])
    t = torch.full((2,), 0.6)
    expected = parts.transformer(timestep=t, timestep_r=t, return_dict=False, **tensors)[0]
    assert exported.relative_error(velocity, expected) < exported.CLOSE
    assert np.abs(velocity[0] - velocity[1]).max() > 0.01


def test_diffusers_pipeline_sings_with_guidance_and_hears_the_token(parts):
    """diffusers' pipeline runs at XL's widths, and reads the timbre's token because our loader's encoder does.

    With diffusers' own condition encoder it would leave the token out: of an XL song it is then no oracle.
    """
    pipeline = AceStepPipeline(**parts.pipeline_arguments())
    pipeline.set_progress_bar_config(disable=True)
    asked = {"lyrics": "la", "audio_duration": 10.0, "num_inference_steps": 2, "output_type": "latent"}

    def sing(guidance: float) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return pipeline(prompt="calm piano", guidance_scale=guidance, generator=generator, **asked).audios

    guided, plain = sing(7.0), sing(1.0)
    assert guided.isfinite().all()
    assert (guided - plain).abs().max() > 0.01
    token = parts.condition_encoder.timbre_encoder.special_token
    kept = token.clone()
    token.zero_()
    deaf = sing(1.0)
    token.copy_(kept)
    assert (deaf - plain).abs().max() > 1e-3
