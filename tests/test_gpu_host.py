"""On a GPU host the pipeline gets on the CPU what it reads there: official backends leave outputs where they ran."""

import numpy as np
import pytest
from google.protobuf import text_format  # type: ignore[import-untyped]
from tritonclient.grpc import model_config_pb2

from pipeline.models import DitCall
from pipeline.tokens import TokenIds
from tests.support import python_stub
from tests.support.python_stub import ROOT

FRAMES, WIDTH = 4, 8
ANSWERS = {
    "m-conditioning": {"encoder_hidden_states": np.ones((1, 3, WIDTH)), "encoder_mask": np.ones((1, 3), bool)},
    "m-dit": {"velocity": np.ones((1, FRAMES, 64))},
    "vae_encoder": {"mean": np.ones((1, FRAMES, 64)), "std": np.ones((1, FRAMES, 64))},
    "m-tokenize": {"codes": np.ones((1, 2), np.int64)},
    "m-detokenize": {"latents": np.ones((1, 10, 64))},
    "vae_decoder": {"audio": np.ones((1, 2, 1920 * FRAMES))},
}
LATENTS = np.zeros((FRAMES, 64), np.float32)


class NoMeter:
    def add(self, *_, **__):
        pass


@pytest.fixture
def bls(monkeypatch):
    stub = python_stub.stub(lambda model: ANSWERS[model])
    return python_stub.load(monkeypatch, "model_repository/acestep/1/pipeline/bls.py", stub, "pipeline.bls")


async def test_no_call_leaves_its_outputs_on_the_gpu(bls):
    models = bls.TritonModels(NoMeter())
    ids = TokenIds(np.array([1, 2], np.int64), cut=0)
    call = DitCall(LATENTS[None], np.ones((1, 1), np.float32), np.ones((1, 3, WIDTH), np.float32),
                   np.ones((1, 3), bool), np.zeros((1, FRAMES, 128), np.float32), np.ones((1, FRAMES), bool))
    condition = await models.condition("m", ids, ids, LATENTS)
    mean, std = await models.encode(np.zeros((2, 1920 * FRAMES), np.float32))
    assert condition.hidden.shape == (3, WIDTH)
    assert mean.shape == std.shape == (FRAMES, 64)
    assert (await models.velocity("m", call)).shape == (1, FRAMES, 64)
    assert (await models.tokenize("m", np.zeros((10, 64), np.float32))).shape == (2,)
    assert (await models.detokenize("m", np.ones(2, np.int64))).shape == (10, 64)
    assert (await models.decode(LATENTS)).shape == (2, 1920 * FRAMES)


@pytest.mark.parametrize("file", ["acestep/config.pbtxt", "acestep/configs/cpu.pbtxt", "lm_pt/config.pbtxt"])
def test_what_a_caller_left_on_the_gpu_comes_to_our_models_on_the_cpu(file):
    text = (ROOT / "model_repository" / file).read_text()
    parameters = text_format.Parse(text, model_config_pb2.ModelConfig()).parameters
    assert parameters["FORCE_CPU_ONLY_INPUT_TENSORS"].string_value == "yes"
