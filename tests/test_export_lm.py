"""The export of the 5 Hz LM: which one is served, two engines on one checkpoint, a wrong folder is one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import text_format  # type: ignore[import-untyped]
from safetensors.numpy import load_file, save_file
from tritonclient.grpc import model_config_pb2

from export import build
from export.errors import ExportError
from export.language_model import LanguageModel
from export.lm_engines import LmEngines
from tests import exported

INPUTS = {  # of the official vLLM backend, as are the outputs
    "text_input": ("TYPE_STRING", (1,)), "image": ("TYPE_STRING", (-1,)), "stream": ("TYPE_BOOL", (1,)),
    "sampling_parameters": ("TYPE_STRING", (1,)), "exclude_input_in_output": ("TYPE_BOOL", (1,)),
    "return_finish_reason": ("TYPE_BOOL", (1,)), "return_cumulative_logprob": ("TYPE_BOOL", (1,)),
    "return_logprobs": ("TYPE_BOOL", (1,)), "return_num_input_tokens": ("TYPE_BOOL", (1,)),
    "return_num_output_tokens": ("TYPE_BOOL", (1,)), "embedding_request": ("TYPE_STRING", (1,)),
}
OUTPUTS = {
    "text_output": ("TYPE_STRING", (-1,)), "finish_reason": ("TYPE_STRING", (-1,)),
    "cumulative_logprob": ("TYPE_FP32", (-1,)), "logprobs": ("TYPE_STRING", (-1,)),
    "num_input_tokens": ("TYPE_UINT32", (1,)), "num_output_tokens": ("TYPE_UINT32", (-1,)),
}
FILES = ["chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


@pytest.fixture(scope="module")
def repository() -> Path:
    return exported.repository()


@pytest.fixture
def root(repository, tmp_path) -> Path:
    """A folder of checkpoints with the embedded LM in it, for a test to change."""
    shutil.copytree(exported.TINY / exported.LM, tmp_path / "checkpoints" / exported.LM)
    return tmp_path / "checkpoints"


def chosen(root: Path, name: str | None = exported.LM) -> LanguageModel:
    found = LanguageModel.choose(root, name, pytest.fail)
    assert found is not None
    return found


def engines(root: Path, duration_max: int | None = None, device: str = "auto") -> LmEngines:
    return LmEngines(chosen(root), "fp32", duration_max, device, build.MODEL_REPOSITORY)


def edit(path: Path, change: Callable[[dict], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(("name", "backend"), [("lm", "vllm"), ("lm_pt", "python")])
def test_an_engine_has_the_official_backends_tensors(repository, name, backend):
    text = (repository / name / "config.pbtxt").read_text()
    found = text_format.Parse(text, model_config_pb2.ModelConfig())
    for values, expected in ((found.input, INPUTS), (found.output, OUTPUTS)):
        ports = {port.name: (model_config_pb2.DataType.Name(port.data_type), tuple(port.dims)) for port in values}
        assert ports == expected
    assert [port.name for port in found.input if not port.optional] == ["text_input"]
    assert (found.name, found.backend, found.max_batch_size) == (name, backend, 0)
    assert found.model_transaction_policy.decoupled
    (group,) = found.instance_group
    assert model_config_pb2.ModelInstanceGroup.Kind.Name(group.kind) == "KIND_MODEL"
    parameter = {"vllm": {"REPORT_CUSTOM_METRICS": "true"}, "python": {"FORCE_CPU_ONLY_INPUT_TENSORS": "yes"}}[backend]
    assert {key: value.string_value for key, value in found.parameters.items()} == parameter


def test_the_engines_are_told_where_their_checkpoint_lies(repository):
    source = json.loads((build.MODEL_REPOSITORY / "lm" / "1" / "model.json").read_text())
    arguments = json.loads((repository / "lm" / "1" / "model.json").read_text())
    place = repository / "lm" / "1" / "checkpoint"
    assert arguments == {**source, "model": "lm/1/checkpoint", "dtype": "float32", "max_model_len": 8192}
    assert json.loads((repository / "lm_pt" / "1" / "model.json").read_text()) == {
        "model": "lm/1/checkpoint", "dtype": "float32", "max_model_len": 8192,
    }
    assert sorted(path.name for path in place.iterdir()) == FILES
    for path in place.iterdir():
        assert path.samefile(exported.TINY / exported.LM / path.name)


def test_a_pair_fits_into_one_step_of_the_engine(repository):
    arguments = json.loads((repository / "lm" / "1" / "model.json").read_text())
    assert arguments["max_num_batched_tokens"] >= 2 * arguments["max_model_len"]
    assert arguments["scheduler_cls"].startswith("lm_guidance.")


def test_the_pipeline_has_the_tokenizer_and_the_template(repository):
    for name in ("tokenizer.json", "chat_template.jinja"):
        copy = repository / "acestep" / "1" / "lm" / name
        assert copy.read_bytes() == (exported.TINY / exported.LM / name).read_bytes()


def test_without_an_lm_nothing_of_one_is_there(repository):
    done = exported.run_export("--build", exported.BUILD, "--lm", "none")
    assert done.returncode == 0, done.stderr
    without = Path(done.stdout.splitlines()[-1].removeprefix("repository: "))
    names = {path.name for path in repository.iterdir()} - {path.name for path in without.iterdir()}
    assert names == {"lm", "lm_pt"}
    assert not (without / "acestep" / "1" / "lm").exists()
    assert json.loads((without / "acestep" / "1" / "models" / "served.json").read_text())["lm"] is None


def test_the_duration_that_it_may_choose_is_part_of_the_facts(repository):
    done = exported.run_export("--build", exported.BUILD, "--lm-duration-max", "45")
    assert done.returncode == 0, done.stderr
    other = Path(done.stdout.splitlines()[-1].removeprefix("repository: "))
    assert other != repository
    lm = json.loads((other / "acestep" / "1" / "models" / "served.json").read_text())["lm"]
    assert (lm["name"], lm["duration_max"]) == (exported.LM, 45)


def test_a_real_lm_may_write_more_and_longer(root):
    edit(root / exported.LM / "config.json", lambda values: values.pop("tiny"))
    facts = engines(root).facts()
    assert (facts["duration_max"], facts["caption_max"], facts["text_max"]) == (600, 512, 2048)
    assert engines(root, 240).facts()["duration_max"] == 240


def test_rows_are_no_longer_than_the_lm_has_positions(root, tmp_path):
    edit(root / exported.LM / "config.json", lambda values: values.update(max_position_embeddings=4096))
    assert engines(root).facts()["max_model_len"] == 4096
    engines(root).assemble(tmp_path / "work")
    for name in ("lm", "lm_pt"):
        arguments = json.loads((tmp_path / "work" / name / "1" / "model.json").read_text())
        assert arguments["max_model_len"] == 4096


@pytest.mark.parametrize(("device", "told"), [("auto", None), ("cpu", "cpu"), ("cuda", "cuda")])
def test_pytorch_alone_is_told_a_device(root, tmp_path, device, told):
    engines(root, device=device).assemble(tmp_path / "work")
    found = [json.loads((tmp_path / "work" / name / "1" / "model.json").read_text()) for name in ("lm", "lm_pt")]
    assert [arguments.get("device") for arguments in found] == [None, told]


@pytest.mark.parametrize(("there", "expected"), [
    (["acestep-5Hz-lm-1.7B"], "acestep-5Hz-lm-1.7B"),
    (["acestep-5Hz-lm-0.6B", "acestep-5Hz-lm-1.7B", "acestep-5Hz-lm-4B"], "acestep-5Hz-lm-0.6B"),
])
def test_without_a_name_it_is_the_default_or_the_only_one(root, there, expected):
    for name in there:
        shutil.copytree(root / exported.LM, root / name)
    shutil.rmtree(root / exported.LM)
    assert chosen(root, None).name == expected
    assert LanguageModel.choose(root, "none", pytest.fail) is None


def test_without_a_choice_there_is_none_and_a_line_that_says_how_to_get_one(root):
    said: list[str] = []
    shutil.copytree(root / exported.LM, root / "acestep-5Hz-lm-4B")
    assert LanguageModel.choose(root, None, said.append) is None
    shutil.rmtree(root)
    assert LanguageModel.choose(root, None, said.append) is None
    assert [line.split(";")[0] for line in said] == [
        f"LM: {root} holds acestep-5Hz-lm-4B, {exported.LM}",
        f"LM: {root} holds no acestep-5Hz-lm-* folder, so nothing plans songs",
    ]
    assert "ACE-Step/acestep-5Hz-lm-0.6B" in said[1]


@pytest.mark.parametrize(("name", "message"), [
    ("acestep-5Hz-lm-0.6B", "LM: {tiny}/acestep-5Hz-lm-0.6B does not exist (LMs there: acestep-5Hz-lm-tiny)"),
    ("../x", "LM: '../x' is not the name of a folder below {tiny} (LMs there: acestep-5Hz-lm-tiny)"),
    ("/etc", "LM: '/etc' is not the name of a folder below {tiny} (LMs there: acestep-5Hz-lm-tiny)"),
    (exported.TURBO, "LM: {tiny}/acestep-tiny-turbo is not a 5 Hz LM: its config.json describes 'acestep',"),
    ("vae", "LM: {tiny}/vae is not a 5 Hz LM: its config.json describes 'AutoencoderOobleck',"),
    ("Qwen3-Embedding-0.6B",
     "LM: {tiny}/Qwen3-Embedding-0.6B is not a 5 Hz LM: its tokenizer.json has no token <|audio_code_0|>"),
])
def test_a_wrong_name_is_one_line_before_anything_is_computed(repository, tmp_path, name, message):
    done = exported.run_export("--build", tmp_path, "--checkpoints", exported.TINY, "--lm", name)
    assert done.returncode == 2
    assert done.stderr.startswith("export: " + message.format(tiny=exported.TINY))
    assert done.stderr.count("\n") == 1
    assert list((tmp_path / "graphs").glob("*")) == []


def test_a_duration_out_of_range_is_refused(tmp_path):
    done = exported.run_export("--build", tmp_path, "--lm-duration-max", "9")
    assert done.returncode == 2
    assert "must be a whole number of seconds between 10 and 600, not '9'" in done.stderr


def _tokens(folder: Path, change: Callable[[list[dict]], object]) -> None:
    edit(folder / "tokenizer.json", lambda stored: change(stored["added_tokens"]))


def _embedding(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "model.embed_tokens.weight": tensors["model.embed_tokens.weight"][:1000]}, path)


def _cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(("harm", "problem"), [
    (lambda folder: edit(folder / "config.json", lambda values: values.update(architectures=["Qwen3Model"])),
     "its config.json describes 'qwen3', not a qwen3 Qwen3ForCausalLM"),
    (lambda folder: edit(folder / "config.json", lambda values: values.pop("vocab_size")),
     "its config.json lacks vocab_size"),
    (lambda folder: edit(folder / "config.json", lambda values: values.update(vocab_size=60_000)),
     "its tokenizer.json has ids up to 66293, vocab_size is 60000"),
    (lambda folder: _tokens(folder, lambda tokens: tokens.pop(5 + 63_999)),
     "its tokenizer.json has no token <|audio_code_63999|> (of 64000 codes)"),
    (lambda folder: _tokens(folder, lambda tokens: tokens[10].update(id=70_000)),
     "its tokenizer.json does not number the 64000 audio codes one after another"),
    (lambda folder: _tokens(folder, lambda tokens: tokens.pop(4)), "its tokenizer.json has no token </think>"),
    (lambda folder: (folder / "tokenizer.json").write_text("[]"), "its tokenizer.json is not a tokenizer: "),
    (lambda folder: (folder / "tokenizer.json").unlink(), "it has no tokenizer.json"),
    (lambda folder: (folder / "chat_template.jinja").unlink(),
     "it has no chat_template.jinja and its tokenizer_config.json no chat_template"),
    (_embedding, "its model.embed_tokens.weight has shape [1000, 64], expected [66294, 64]"),
    (_cut, "its model.safetensors is not a readable safetensors file: "),
])
def test_what_is_wrong_with_a_folder_is_one_line(root, harm, problem):
    harm(root / exported.LM)
    with pytest.raises(ExportError) as error:
        chosen(root).check()
    assert str(error.value).startswith(f"LM: {root / exported.LM} is not a 5 Hz LM: {problem}")
    assert "\n" not in str(error.value)


def test_missing_weights_are_named(root):
    (root / exported.LM / "model.safetensors").unlink()
    with pytest.raises(ExportError, match=r"has no model\.safetensors"):
        engines(root).state()


def test_shards_are_linked_and_code_is_not(root, tmp_path):
    folder = root / exported.LM
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = {key: f"model-0000{1 + (place % 2)}-of-00002.safetensors" for place, key in enumerate(sorted(tensors))}
    for shard in set(names.values()):
        save_file({key: tensors[key] for key in names if names[key] == shard}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    for name in ("modeling_qwen3.py", "README.md", "pytorch_model.bin", "other.safetensors"):
        (folder / name).touch()
    chosen(root).check()
    engines(root).assemble(tmp_path / "work")
    linked = {path.name for path in (tmp_path / "work" / "lm" / "1" / "checkpoint").iterdir()}
    assert linked == {*FILES, *names.values(), "model.safetensors.index.json"} - {"model.safetensors"}


def test_a_downloads_links_become_files(root, tmp_path):
    """Hugging Face's cache holds links to blobs, which a container that mounts the repository would not have."""
    folder, blobs = root / exported.LM, tmp_path / "blobs"
    blobs.mkdir()
    for path in list(folder.iterdir()):
        path.rename(blobs / path.name)
        path.symlink_to(blobs / path.name)
    engines(root).assemble(tmp_path / "work")
    for path in (tmp_path / "work" / "lm" / "1" / "checkpoint").iterdir():
        assert path.is_file()
        assert not path.is_symlink()


def test_a_template_may_be_in_the_tokenizers_settings(root, tmp_path):
    folder = root / exported.LM
    (folder / "chat_template.jinja").unlink()
    edit(folder / "tokenizer_config.json", lambda values: values.update(chat_template="{{ messages }}"))
    engines(root).add_to_pipeline(tmp_path / "version")
    assert (tmp_path / "version" / "lm" / "chat_template.jinja").read_text() == "{{ messages }}"
