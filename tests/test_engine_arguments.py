"""Engine arguments of the embedded vLLM backend: those of model.json, and what a host without a GPU adds."""

# mypy: allow-untyped-calls

import json

import pytest

from tests.conftest import ROOT
from tests.vllm_rows import vllm_environment


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Reads a model.json with these values on this host, which has no GPU."""
    monkeypatch.syspath_prepend(str(ROOT / "embedded" / "backends" / "vllm"))
    (tmp_path / "config.json").write_text("{}")

    def of(**values):
        from serving.arguments import EngineArguments

        (tmp_path / "model.json").write_text(json.dumps({"model": str(tmp_path)} | values))
        with vllm_environment():
            return EngineArguments.read(str(tmp_path / "model.json"))

    return of


def test_an_argument_that_vllm_does_not_have(read):
    with pytest.raises(Exception, match=r"^model.json: vLLM has no engine argument 'max_model_length'$"):
        read(max_model_length=9)


def test_a_checkpoint_is_named_from_the_model_repository_or_by_an_absolute_path(read, tmp_path):
    repository = tmp_path.parent.parent
    named = str(tmp_path.relative_to(repository))
    assert read(model=named).values["model"] == read().values["model"] == str(tmp_path)


def test_one_process_computes_and_several_do_where_several_are_asked_for(read):
    alone = read(max_model_len=512)
    assert alone.is_on_cpu
    assert alone.values["distributed_executor_backend"].endswith("UniProcExecutor")
    assert "distributed_executor_backend" not in read(tensor_parallel_size=2).values
    assert read(distributed_executor_backend="mp").values["distributed_executor_backend"] == "mp"


def test_the_kv_cache_is_the_settings_unless_the_file_says_otherwise(read, monkeypatch):
    monkeypatch.setenv("LM_CPU_KV_GIB", "3")
    assert read().values["kv_cache_memory_bytes"] == 3 << 30
    assert read(kv_cache_memory_bytes=7).values["kv_cache_memory_bytes"] == 7
    monkeypatch.setenv("LM_CPU_KV_GIB", "much")
    with pytest.raises(Exception, match=r"^LM_CPU_KV_GIB must be a number above 0, not 'much'$"):
        read()
