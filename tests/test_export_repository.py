"""`python -m export`: a repository that a stock Triton understands, nothing done twice, errors of one line."""

import ast
import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf import text_format  # type: ignore[import-untyped]
from safetensors.numpy import load_file
from tritonclient.grpc import model_config_pb2

import contract
from export import artifacts, build, digests
from export.build import Request
from export.facts import facts
from export.language_model import LanguageModel
from export.layout import Checkpoints, DitConfig
from export.lm_engines import LmEngines
from export.repository import Repository
from tests import exported

TYPES = {onnx.TensorProto.FLOAT: "TYPE_FP32", onnx.TensorProto.INT64: "TYPE_INT64", onnx.TensorProto.BOOL: "TYPE_BOOL"}
GRAPHS = ["lyric_embedding", "text_encoder", "vae_decoder", "vae_encoder"] + [
    f"{dit}-{kind}"
    for dit in (exported.BASE, exported.TURBO)
    for kind in ("condition", "dit", "tokenize", "detokenize")
]
LM_ENGINES = ["lm", "lm_pt"]
ENSEMBLES = [f"{dit}-conditioning" for dit in (exported.BASE, exported.TURBO)]


@pytest.fixture(scope="module")
def repository() -> Path:
    return exported.repository()


def config(path: Path) -> model_config_pb2.ModelConfig:
    """A parsed config.pbtxt; a key that Triton does not know fails here."""
    return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())


def ports(values) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {port.name: (model_config_pb2.DataType.Name(port.data_type), tuple(port.dims)) for port in values}


def graph_ports(values, batched: bool) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Triton's view of an ONNX graph's tensors: dynamic axes are -1, a batch axis that Triton adds is left out."""
    found = {}
    for value in values:
        tensor = value.type.tensor_type
        dims = tuple(-1 if axis.dim_param else axis.dim_value for axis in tensor.shape.dim)
        found[value.name] = (TYPES[tensor.elem_type], dims[1:] if batched else dims)
    return found


def test_the_repository_holds_these_models_and_no_others(repository):
    assert sorted(path.name for path in repository.iterdir()) == sorted([*GRAPHS, *ENSEMBLES, "acestep", *LM_ENGINES])
    for name in GRAPHS:
        assert (repository / name / "1" / "model.onnx").is_file()
    for name in ENSEMBLES:
        assert list((repository / name / "1").iterdir()) == []
    for path in repository.rglob("*"):
        assert not path.is_symlink()
        assert path.stat().st_mode & 0o004, f"{path} cannot be read by a container's user"


# On a CPU nothing is kept that the longest song needed.
MEMORY = {"KIND_GPU": {}, "KIND_CPU": {"enable_mem_arena": "0"}}


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize(("file", "kind"), [("config.pbtxt", "KIND_GPU"), ("configs/cpu.pbtxt", "KIND_CPU")])
def test_a_config_describes_its_graph(repository, name, file, kind):
    found = config(repository / name / file)
    graph = onnx.load(repository / name / "1" / "model.onnx").graph
    assert found.name == name
    assert found.backend == "onnxruntime"
    batched = found.max_batch_size > 0
    assert ports(found.input) == graph_ports(graph.input, batched)
    assert ports(found.output) == graph_ports(graph.output, batched)
    (group,) = found.instance_group
    assert (model_config_pb2.ModelInstanceGroup.Kind.Name(group.kind), group.count) == (kind, 1)
    assert {key: value.string_value for key, value in found.parameters.items()} == MEMORY[kind]
    assert batched == name.startswith("vae_")


@pytest.mark.parametrize("name", ["vae_encoder", "vae_decoder"])
def test_only_a_gpu_handles_chunks_of_several_songs_in_one_call(repository, name):
    gpu, cpu = (config(repository / name / file) for file in ("config.pbtxt", "configs/cpu.pbtxt"))
    assert (gpu.max_batch_size, gpu.HasField("dynamic_batching")) == (8, True)
    assert (cpu.max_batch_size, cpu.HasField("dynamic_batching")) == (1, False)


@pytest.mark.parametrize("name", ENSEMBLES)
def test_an_ensemble_is_wired_from_its_inputs_to_its_outputs(repository, name):
    found = config(repository / name / "config.pbtxt")
    assert found.platform == "ensemble"
    have = ports(found.input)
    for step in found.ensemble_scheduling.step:
        model = config(repository / step.model_name / "config.pbtxt")
        inputs, outputs = ports(model.input), ports(model.output)
        assert step.input_map.keys() == inputs.keys()
        for port, tensor in step.input_map.items():
            assert have[tensor] == inputs[port]
        have |= {tensor: outputs[port] for port, tensor in step.output_map.items()}
    for tensor, port in ports(found.output).items():
        assert have[tensor] == port


def test_facts_of_both_models(repository):
    models = repository / "acestep" / "1" / "models"
    assert json.loads((models / "served.json").read_text()) == {
        "default": exported.TURBO,
        "models": [exported.TURBO, exported.BASE],
        "embedded": True,
        "vae": {
            "hop": 1920,
            "sample_rate": 48000,
            "latent_channels": 64,
            "overlap_frames": 10,
            "encoder_overlap_frames": 8,
        },
        "lm": {
            "name": exported.LM,
            "max_model_len": 8192,
            "duration_max": 60,
            "caption_max": 24,
            "text_max": 64,
        },
    }
    turbo, base = (json.loads((models / name / "facts.json").read_text()) for name in (exported.TURBO, exported.BASE))
    assert turbo["aliases"] == ["acestep-v15-turbo", "acestep-v15-turbo-shift3"]
    assert base["aliases"] == []
    assert (turbo["is_turbo"], base["is_turbo"]) == (True, False)
    assert (turbo["steps"], base["steps"]) == (
        {"min": 1, "max": 20, "default": 8},
        {"min": 1, "max": 200, "default": 32},
    )
    assert turbo["shift"] == {"default": 3.0, "choices": [1, 2, 3]}
    assert base["shift"] == {"default": 3.0, "min": 1, "max": 5}
    assert turbo["tasks"] == ["text2music", "cover", "cover-nofsq", "repaint"]
    assert base["tasks"] == [*turbo["tasks"], "lego", "extract", "complete"]
    for one in (turbo, base):
        assert one["tiny"]
        assert one["audio_is_noise"]
        assert one["is_lego_sft"] is False
        assert all(len(digest) == 64 for digest in one["digests"].values())
    assert turbo["digests"]["dit"] != base["digests"]["dit"]
    assert turbo["digests"]["vae_decoder"] == base["digests"]["vae_decoder"]


@pytest.mark.parametrize(("said", "expected"), [({}, False), ({"is_lego_sft": True}, True)])
def test_facts_say_whether_a_model_was_tuned_on_stems(said, expected):
    config = DitConfig(Path("model"), {"hidden_size": 64, **said})
    assert facts(config, "model", (), "fp32", {})["is_lego_sft"] is expected


def test_constants_and_tokenizer_lie_beside_the_pipeline(repository):
    version = repository / "acestep" / "1"
    for name in (exported.TURBO, exported.BASE):
        silence = np.load(version / "models" / name / "silence_latent.npy")
        assert (silence.shape, silence.dtype) == ((15000, 64), np.float32)
    assert "post_processor" in json.loads((version / "tokenizer" / "tokenizer.json").read_text())


def test_only_a_base_model_has_a_null_condition(repository):
    models = repository / "acestep" / "1" / "models"
    null = np.load(models / exported.BASE / "null_condition.npy")
    stored = load_file(exported.TINY / exported.BASE / "model.safetensors")["null_condition_emb"]
    assert (null.shape, null.dtype) == ((64,), np.float32)
    assert np.array_equal(null, stored[0, 0])
    assert not (models / exported.TURBO / "null_condition.npy").exists()


def test_the_pipelines_own_files_are_copies(repository):
    source = exported.ROOT / "model_repository" / "acestep"
    for path in source.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            copy = repository / "acestep" / path.relative_to(source)
            assert copy.read_bytes() == path.read_bytes()
            assert copy.stat().st_nlink == 1  # the supervisor touches model.py here, never the checkout's


def test_a_second_export_does_nothing_and_needs_no_library(repository, tmp_path, monkeypatch):
    for name in ("torch", "diffusers", "transformers", "onnx", "onnxruntime", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('imported')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = exported.run_export("--build", exported.BUILD)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"repository: {repository}\n"


def test_a_folder_of_checkpoints_is_served_under_its_own_names(repository):
    done = exported.run_export("--build", exported.BUILD, "--checkpoints", exported.TINY, "--models", exported.BASE)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if "-dit" in line or "text_encoder" in line] == []  # the same graphs, not again
    other = Path(lines[-1].removeprefix("repository: "))
    assert other != repository
    models = other / "acestep" / "1" / "models"
    served = json.loads((models / "served.json").read_text())
    assert (served["models"], served["default"], served["embedded"]) == ([exported.BASE], exported.BASE, False)
    assert json.loads((models / exported.BASE / "facts.json").read_text())["aliases"] == []
    assert not (other / f"{exported.TURBO}-dit").exists()


@pytest.fixture
def copies(tmp_path: Path, repository: Path) -> Repository:
    """The embedded checkpoint and the model sources, copied so that a test may change them."""
    checkpoints = Checkpoints.choose(Path(shutil.copytree(exported.TINY, tmp_path / "tiny")))
    sources = Path(shutil.copytree(build.MODEL_REPOSITORY, tmp_path / "sources"))
    lm = LanguageModel.choose(checkpoints.root, exported.LM, pytest.fail)
    assert lm is not None
    engines = LmEngines(lm, "fp32", None, "auto", sources)
    wanted = tuple(artifacts.all_of(checkpoints))
    return Repository(checkpoints, wanted, "fp32", False, sources, engines)


def state(copies: Repository) -> tuple[str, dict[str, str]]:
    return copies.digest(), {artifact.name: artifact.digest() for artifact in copies.artifacts}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_a_change_in_the_pipeline_exports_no_graph_again(copies):
    before, graphs = state(copies)
    (copies.sources / "acestep" / "1" / "__pycache__").mkdir(exist_ok=True)
    (copies.sources / "acestep" / "1" / "__pycache__" / "x.pyc").write_text("x")
    os.utime(copies.sources / "acestep" / "1" / "model.py")
    assert state(copies) == (before, graphs)
    (copies.sources / "acestep" / "1" / "new.py").write_text("x = 1\n")
    after, same = state(copies)
    assert (after != before, same) == (True, graphs)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (f"{exported.TURBO}/model.safetensors", {f"{exported.TURBO}-{kind}" for kind in artifacts.PER_DIT}),
        (f"{exported.TURBO}/config.json", {f"{exported.TURBO}-{kind}" for kind in artifacts.PER_DIT}),
        (f"{exported.BASE}/silence_latent.pt", {f"{exported.BASE}-{kind}" for kind in artifacts.PER_DIT}),
        ("vae/diffusion_pytorch_model.safetensors", {"vae_encoder", "vae_decoder"}),
        ("Qwen3-Embedding-0.6B/model.safetensors", {"text_encoder", "lyric_embedding"}),
        ("Qwen3-Embedding-0.6B/tokenizer.json", set()),
        (f"{exported.LM}/model.safetensors", set()),
        (f"{exported.LM}/tokenizer_config.json", set()),
    ],
)
def test_a_changed_checkpoint_file_renews_what_it_is_in(copies, file, expected):
    before, graphs = state(copies)
    os.utime(copies.checkpoints.root / file, ns=(1, 1))
    after, others = state(copies)
    assert after != before
    assert changed(graphs, others) == expected


def test_a_change_in_the_contract_assembles_anew_and_exports_no_graph_again(copies, tmp_path, monkeypatch):
    before, graphs = state(copies)
    copy = shutil.copytree(Path(contract.__file__).parent, tmp_path / "contract")
    monkeypatch.setattr("export.repository._CONTRACT", copy)
    assert state(copies) == (before, graphs)
    (copy / "tasks.py").write_text("TASKS = {}\n")
    after, others = state(copies)
    assert after != before
    assert changed(graphs, others) == set()


# What these say is in the digests by other ways, or is no part of a graph.
NOT_IN_GRAPHS = {"artifacts.py", "digests.py", "errors.py"}


@pytest.mark.parametrize("kind", artifacts._RECIPES)
def test_a_change_in_any_module_that_a_graph_is_made_with_renews_it(kind):
    recipe = set(artifacts._RECIPES[kind])
    for file in recipe:
        for node in ast.walk(ast.parse((digests.PACKAGE / file).read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 1:
                modules = [node.module] if node.module else [name.name for name in node.names]
                assert {f"{module}.py" for module in modules} <= recipe | NOT_IN_GRAPHS


def test_models_are_found_and_ordered(copies, tmp_path):
    assert copies.checkpoints.models == (exported.TURBO, exported.BASE)
    for name in ("acestep-v15-turbo", "acestep-5Hz-lm-1.7B", "not-a-model"):
        shutil.copytree(tmp_path / "tiny" / exported.TURBO, tmp_path / "tiny" / name)
    found = Checkpoints.choose(tmp_path / "tiny").models
    assert found == ("acestep-v15-turbo", exported.TURBO, exported.BASE)
    assert Checkpoints.choose(tmp_path / "tiny", (exported.BASE, exported.TURBO)).models[0] == exported.BASE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--checkpoints", "/nowhere/at/all"], "/nowhere/at/all does not exist"),
        (["--checkpoints", "{empty}"], "{empty} holds no DiT folder (acestep-...)"),
        (["--checkpoints", "{file}"], "{file} is not a folder"),
        (["--checkpoints", "{tiny}", "--models", "acestep-v15-sft"], "{tiny}/acestep-v15-sft does not exist (found"),
        (["--checkpoints", "{tiny}", "--models", "../x"], "'../x' is not the name of a folder below {tiny}"),
        (["--checkpoints", "{broken}"], "{broken}/vae: missing key decoder.conv1.bias"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_two(repository, tmp_path, arguments, message):
    places = {"tiny": exported.TINY, "empty": tmp_path / "empty", "file": tmp_path / "file", "broken": tmp_path / "b"}
    places["empty"].mkdir()
    places["file"].touch()
    if "{broken}" in arguments:
        break_vae(Path(shutil.copytree(exported.TINY, places["broken"])))
    done = exported.run_export("--build", tmp_path / "build", *(one.format(**places) for one in arguments))
    assert done.returncode == 2
    assert done.stderr.startswith("export: " + message.format(**places))
    assert done.stderr.count("\n") == 1
    assert "repository:" not in done.stdout
    assert not (tmp_path / "build" / "repository").exists()


def break_vae(root: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = root / "vae" / "diffusion_pytorch_model.safetensors"
    save_file({key: value for key, value in load_file(path).items() if key != "decoder.conv1.bias"}, path)


def test_an_interrupted_embedded_checkpoint_is_made_again(repository, tmp_path):
    tiny = Path(shutil.copytree(exported.TINY, tmp_path / "checkpoints" / "tiny"))
    (tiny / "vae" / "config.json").unlink()
    weights = tiny / "vae" / "diffusion_pytorch_model.safetensors"
    os.utime(weights, ns=(1, 1))
    lines: list[str] = []
    build._ensure_tiny(tiny, lines.append)
    assert (tiny / "vae" / "config.json").is_file()
    assert len(lines) == 1
    assert weights.stat().st_mtime_ns == 1  # no graph is made again of what came out the same
    build._ensure_tiny(tiny, lines.append)
    assert len(lines) == 1


def test_a_request_names_what_it_needs():
    assert Request(Path("build")).models == ()
    assert build.EMBEDDED_MODELS == (exported.TURBO, exported.BASE)
