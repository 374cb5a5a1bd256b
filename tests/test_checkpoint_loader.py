"""Upstream's checkpoints load strictly: names of the official code, and one clear line for everything else."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from export.checkpoint import SILENCE_FRAMES, load_dit, load_parts, meta_modules, parameter_shapes, read_silence, verify
from export.errors import ExportError
from export.layout import Checkpoints, DitConfig
from export.upstream_keys import MODULES, check, to_diffusers, to_upstream
from tests import exported

UPSTREAM = json.loads((Path(__file__).parent / "data" / "upstream_keys.json").read_text())["models"]
MODELS = pytest.mark.parametrize("model", UPSTREAM, ids=lambda model: model["name"])


def ours(key: str) -> tuple[str, str]:
    """Module and name of a key that upstream has."""
    target = to_diffusers(key)
    assert target is not None, key
    return target


def upstream_shapes(model: dict) -> dict[str, tuple[int, ...]]:
    return {key: tuple(shape) for key, shape in model["keys"].items()}


def module_shapes(model: dict) -> dict[str, dict[str, tuple[int, ...]]]:
    """What diffusers' modules hold at the full size of that model."""
    modules = meta_modules(DitConfig(Path("upstream"), model["config"]))
    return {name: parameter_shapes(module) for name, module in modules.items()}


@MODELS
def test_official_names_fill_the_modules_exactly(model):
    mapped: dict[str, dict[str, tuple[int, ...]]] = {name: {} for name in MODULES}
    for key, shape in upstream_shapes(model).items():
        module, name = ours(key)
        mapped[module][name] = shape
        assert to_upstream(module, name) == key
    assert mapped == module_shapes(model)
    check(upstream_shapes(model), module_shapes(model))


@MODELS
def test_any_one_changed_key_is_refused_by_name(model):
    upstream, modules = upstream_shapes(model), module_shapes(model)
    for key, shape in upstream.items():
        if re.search(r"layers\.(?!0\.|23\.)", key):
            continue  # layers are alike: the first of each stack, and the DiT's last
        others = {name: value for name, value in upstream.items() if name != key}
        in_diffusers = f"{key.partition('.')[0]}.{ours(key)[1]}"
        for changed in {f"{key}_", f"x{key}", key.replace(".", "_.", 1), in_diffusers} - {key}:
            with pytest.raises(ExportError) as refused:
                check({**others, changed: shape}, modules)
            assert key in str(refused.value) or changed in str(refused.value)
        with pytest.raises(ExportError, match=rf"missing key {key}$"):
            check(others, modules)
        with pytest.raises(ExportError, match=rf"key {key} has shape"):
            check({**others, key: (*shape, 2)}, modules)


def test_a_key_too_much_is_refused():
    upstream, modules = upstream_shapes(UPSTREAM[0]), module_shapes(UPSTREAM[0])
    for extra in ("decoder.layers.24.mlp.up_proj.weight", "lora.weight", "encoder.null_condition_emb2"):
        with pytest.raises(ExportError, match=f"unexpected key {extra}$"):
            check({**upstream, extra: (1,)}, modules)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """A copy of the embedded checkpoint that a test may break."""
    exported.repository()
    return Path(shutil.copytree(exported.TINY, tmp_path / "checkpoints"))


def test_the_files_weights_reach_the_modules(checkpoints):
    stored = load_file(checkpoints / exported.BASE / "model.safetensors")
    modules = load_dit(DitConfig.read(checkpoints / exported.BASE))
    for key, tensor in stored.items():
        module, name = ours(key)
        assert torch.equal(modules[module].state_dict()[name], tensor), key


def test_silence_is_turned_from_channels_first_to_frames_first(checkpoints):
    config = DitConfig.read(checkpoints / exported.TURBO)
    path = config.folder / "silence_latent.pt"
    stored = torch.load(path, weights_only=True)
    assert stored.shape == (1, 64, SILENCE_FRAMES)
    silence = read_silence(config)
    assert silence.shape == (SILENCE_FRAMES, 64)
    assert silence[7, 3] == stored[0, 3, 7]
    assert torch.equal(load_dit(config)["condition_encoder"].silence_latent[0], silence)
    torch.save(stored.transpose(1, 2).contiguous(), path)
    with pytest.raises(ExportError, match=r"silence_latent.pt holds \[1, 15000, 64\], expected \[1, 64, 15000\]"):
        read_silence(config)


def test_a_pickle_that_runs_code_is_not_run(checkpoints, tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"weights": Trap()}, checkpoints / exported.TURBO / "silence_latent.pt")
    with pytest.raises(ExportError, match=r"silence_latent\.pt is not a tensor file"):
        load_parts(checkpoints, exported.TURBO)
    assert not (tmp_path / "sprung").exists()


def test_sharded_and_half_precision_weights_load_the_same(checkpoints):
    folder = checkpoints / exported.TURBO
    tensors = {key: tensor.bfloat16() for key, tensor in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors")
    whole = load_dit(DitConfig.read(folder))["transformer"].state_dict()
    shard(folder)
    sharded = load_dit(DitConfig.read(folder))["transformer"].state_dict()
    for name, tensor in whole.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, sharded[name])


def shard(folder: Path) -> Path:
    """Rewrites a folder's weights as two shards and an index; the second shard."""
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    files = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, keys in files.items():
        save_file({key: tensors[key] for key in keys}, folder / file)
    weight_map = {key: file for file, keys in files.items() for key in keys}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "model.safetensors").unlink()
    return folder / "model-00002-of-00002.safetensors"


def test_a_text_encoder_saved_as_a_causal_lm_loads_the_same(checkpoints):
    file = checkpoints / "Qwen3-Embedding-0.6B" / "model.safetensors"
    tensors = load_file(file)
    before = load_parts(checkpoints, exported.TURBO).text_encoder.state_dict()
    embedding = tensors["embed_tokens.weight"].clone()
    save_file({f"model.{key}": tensor for key, tensor in tensors.items()} | {"lm_head.weight": embedding}, file)
    after = load_parts(checkpoints, exported.TURBO).text_encoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def edit_json(path: Path, **changes: object) -> None:
    """Sets keys of a JSON file; None takes a key away."""
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def edit_weights(path: Path, change) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


T = exported.TURBO
BROKEN = {
    "no DiT folder": (lambda c: shutil.rmtree(c / T), f"{T} does not exist"),
    "no config": (lambda c: (c / T / "config.json").unlink(), f"{T} has no config.json"),
    "config is not JSON": (lambda c: (c / T / "config.json").write_text("{"), "config.json is not JSON"),
    "config lacks a field": (lambda c: edit_json(c / T / "config.json", fsq_dim=None), "config.json lacks fsq_dim"),
    "no weights": (lambda c: (c / T / "model.safetensors").unlink(), f"{T} has no model.safetensors"),
    "weights cut short": (
        lambda c: (c / T / "model.safetensors").write_bytes((c / T / "model.safetensors").read_bytes()[:9999]),
        "model.safetensors is not a readable safetensors file",
    ),
    "no silence": (lambda c: (c / T / "silence_latent.pt").unlink(), f"{T} has no silence_latent.pt"),
    "key missing": (
        lambda c: edit_weights(c / T / "model.safetensors", lambda t: t.pop("decoder.proj_in.1.bias")),
        f"{T}: missing key decoder.proj_in.1.bias",
    ),
    "key too much": (
        lambda c: edit_weights(c / T / "model.safetensors", lambda t: t.update({"decoder.more": torch.ones(1)})),
        f"{T}: unexpected key decoder.more",
    ),
    "wrong shape": (
        lambda c: edit_weights(
            c / T / "model.safetensors", lambda t: t.update({"null_condition_emb": torch.ones(1, 1, 65)})
        ),
        f"{T}: key null_condition_emb has shape [1, 1, 65], expected [1, 1, 64]",
    ),
    "shard missing": (
        lambda c: shard(c / T).unlink(),
        f"{T} lacks the shard model-00002-of-00002.safetensors",
    ),
    "no VAE": (lambda c: shutil.rmtree(c / "vae"), "vae does not exist"),
    "VAE key missing": (
        lambda c: edit_weights(
            c / "vae" / "diffusion_pytorch_model.safetensors", lambda t: t.pop("decoder.conv2.weight_g")
        ),
        "vae: missing key decoder.conv2.weight_g",
    ),
    "VAE field missing": (lambda c: edit_json(c / "vae" / "config.json", sampling_rate=None), "lacks sampling_rate"),
    "VAE field unknown": (
        lambda c: edit_json(c / "vae" / "config.json", color="red"),
        "vae: config.json does not describe an Oobleck autoencoder:",
    ),
    "a width in words": (
        lambda c: edit_json(c / T / "config.json", intermediate_size="wide"),
        f"{T}: config.json does not describe an ACE-Step model:",
    ),
    "no text encoder": (lambda c: shutil.rmtree(c / "Qwen3-Embedding-0.6B"), "Qwen3-Embedding-0.6B does not exist"),
    "text encoder key missing": (
        lambda c: edit_weights(c / "Qwen3-Embedding-0.6B" / "model.safetensors", lambda t: t.pop("norm.weight")),
        "Qwen3-Embedding-0.6B: missing key norm.weight",
    ),
    "another text encoder": (
        lambda c: edit_json(c / "Qwen3-Embedding-0.6B" / "config.json", hidden_size=48),
        "has hidden_size 48, but acestep-tiny-turbo was trained with 32",
    ),
    "no tokenizer": (lambda c: (c / "Qwen3-Embedding-0.6B" / "tokenizer.json").unlink(), "has no tokenizer.json"),
    "tokenizer is nonsense": (
        lambda c: (c / "Qwen3-Embedding-0.6B" / "tokenizer.json").write_text("{}"),
        "tokenizer.json is not a tokenizer",
    ),
}


@pytest.mark.parametrize(("damage", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_checkpoint_is_one_clear_line(checkpoints, damage, message):
    damage(checkpoints)
    with pytest.raises(ExportError) as refused:
        verify(Checkpoints.choose(checkpoints, (exported.TURBO,)))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    with pytest.raises(ExportError) as again:
        load_parts(checkpoints, exported.TURBO)
    assert str(again.value) == str(refused.value)
