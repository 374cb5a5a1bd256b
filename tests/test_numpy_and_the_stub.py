"""Models refuse a Triton stub that corrupts tensors, not a version of numpy: newer official images run numpy 2."""

import sys

import numpy as np
import pytest

from contract.stub import corruption
from tests.support import python_stub
from tests.support.python_stub import SpoiltTensor

MODELS = ["acestep", "lm_pt"]
LINE = "this Triton's Python stub corrupts tensors with numpy 2.3.5: install numpy 1.26.4"


@pytest.fixture(autouse=True)
def numpy_2(monkeypatch):
    monkeypatch.setattr(np, "__version__", "2.3.5")


@pytest.fixture
def model(monkeypatch):
    def load(name, tensor=python_stub.Tensor):
        stub = python_stub.stub(tensor=tensor)
        bls = python_stub.load(monkeypatch, "model_repository/acestep/1/pipeline/bls.py", stub, "pipeline.bls")
        monkeypatch.setitem(sys.modules, "pipeline.bls", bls)
        return python_stub.load(monkeypatch, f"model_repository/{name}/1/model.py", stub).TritonPythonModel()

    return load


@pytest.mark.parametrize("name", MODELS)
def test_a_stub_that_corrupts_is_refused_in_one_line(model, name):
    with pytest.raises(RuntimeError) as refusal:
        model(name, SpoiltTensor).initialize({})
    assert str(refusal.value) == LINE


@pytest.mark.parametrize("name", MODELS)
def test_numpy_2_is_accepted_where_the_stub_is_sound(model, name):
    assert corruption(python_stub.stub()) is None
    with pytest.raises((KeyError, FileNotFoundError)):  # what comes next: these models have no configuration here
        model(name).initialize({})
