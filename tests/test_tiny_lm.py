"""The embedded 5 Hz LM: upstream's layout and tokens, prompts as Qwen3's template renders them, decided logits."""

import json
import re
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from export import tiny_lm_tokenizer
from export.layout import read_config
from tests import exported
from tests.exported import one_thread as one_thread

SYSTEM = "# Instruction\nGenerate audio semantic tokens based on the given conditions:\n\n"
USER = "# Caption\n{}\n\n# Lyric\n[Verse]\nla la la\n"
HEAD = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{USER}<|im_end|>\n<|im_start|>assistant\n"
CAPTIONS = ["soft piano", "loud drums and distorted guitars", "夜晚的城市，电子流行", ""]
BLOCK = (
    "<think>\nbpm: 120\ncaption: A calm ballad: soft\n  piano.\nduration: 30\ngenres: folk\nkeyscale: B♭ major\n"
    "language: yue\ntimesignature: 4\n</think>\n\n"
)


@pytest.fixture(scope="module")
def folder() -> Path:
    exported.repository()
    return exported.TINY / exported.LM


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def model(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def messages(caption: str, answer: str | None = None) -> list[dict[str, str]]:
    said = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": USER.format(caption)}]
    return said if answer is None else [*said, {"role": "assistant", "content": answer}]


def test_it_has_upstreams_files_and_tensor_names(folder):
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
    }
    config = read_config(folder)
    assert (config["model_type"], config["architectures"]) == ("qwen3", ["Qwen3ForCausalLM"])
    assert (config["tie_word_embeddings"], config["max_position_embeddings"]) == (True, 40960)
    keys = {re.sub(r"layers\.\d+\.", "layers.N.", key) for key in load_file(folder / "model.safetensors")}
    parts = ("input_layernorm", "mlp.down_proj", "mlp.gate_proj", "mlp.up_proj", "post_attention_layernorm",
             "self_attn.k_norm", "self_attn.k_proj", "self_attn.o_proj", "self_attn.q_norm", "self_attn.q_proj",
             "self_attn.v_proj")
    layer = {f"model.layers.N.{part}.weight" for part in parts}
    assert keys == {"model.embed_tokens.weight", "model.norm.weight", *layer}


def test_the_whole_embedded_checkpoint_stays_small(folder):
    files = {path: path.stat().st_size for path in folder.parent.rglob("*") if path.is_file()}
    assert sum(files.values()) < 40e6
    assert files[folder / "tokenizer.json"] < 9e6


def test_tokens_stand_in_upstreams_order(folder, tokenizer):
    stored = json.loads((folder / "tokenizer.json").read_text())
    added = {token["content"]: token["id"] for token in stored["added_tokens"]}
    words = len(stored["model"]["vocab"])
    named = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
    codes = tuple(f"<|audio_code_{code}|>" for code in range(65_535))
    assert added == {token: words + place for place, token in enumerate((*named, *codes))}
    config = read_config(folder)
    assert config["vocab_size"] == len(tokenizer) == words + len(added)
    assert (config["eos_token_id"], config["pad_token_id"]) == (added["<|im_end|>"], added["<|endoftext|>"])
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")


@pytest.mark.parametrize("text", [BLOCK, USER.format("naïve 🎵"), "<|audio_code_0|><|audio_code_65534|><|im_end|>", ""])
def test_any_text_becomes_ids_and_back_and_nothing_is_appended(folder, tokenizer, text):
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids
    assert tokenizer(text).input_ids == ids
    assert tokenizer.decode(ids, skip_special_tokens=False, spaces_between_special_tokens=False) == text


def test_the_block_is_cut_as_by_qwen(tokenizer):
    pieces = [tokenizer.decode([number]) for number in tokenizer(BLOCK).input_ids]
    assert pieces == [
        "<think>", "\n", "bpm", ":", " ", "1", "2", "0", "\n", "caption", ":", " A", " calm", " ballad", ":", " soft",
        "\n", " ", " piano", ".\n", "duration", ":", " ", "3", "0", "\n", "genres", ":", " folk", "\n",
        "keyscale", ":", " B", "♭", " major", "\n", "language", ":", " yue", "\n",
        "timesignature", ":", " ", "4", "\n", "</think>", "\n\n",
    ]


@pytest.mark.parametrize("note", "CDEFGAB")
def test_every_key_and_language_is_a_few_words(tokenizer, note):
    for sign in ("", "#", "b", "♯", "♭"):
        for mode in ("major", "minor"):
            assert len(tokenizer(f" {note}{sign} {mode}").input_ids) <= 3
    for language in ("en", "zh", "yue", "unknown", "no"):
        assert len(tokenizer(f" {language}").input_ids) == 1


def test_it_loads_in_a_moment(folder):
    started = time.process_time()
    Tokenizer.from_file(str(folder / "tokenizer.json"))
    bare = time.process_time()
    AutoTokenizer.from_pretrained(folder)
    assert bare - started < 1
    assert time.process_time() - bare < 3


def test_the_prompt_ends_with_an_open_turn(tokenizer):
    text = tokenizer.apply_chat_template(messages("{}"), tokenize=False, add_generation_prompt=True)
    assert text == HEAD
    assert tokenizer.apply_chat_template(messages("{}"), tokenize=False) == HEAD.removesuffix("<|im_start|>assistant\n")


@pytest.mark.parametrize(("answer", "rendered"), [
    ("<think>\nbpm: 120\ncaption: x\n  y\n</think>", "<think>\nbpm: 120\ncaption: x\n  y\n</think>\n\n"),
    ("<think>\n</think>", "<think>\n\n</think>\n\n"),
    ("<think>\n\n</think>\n\n", "<think>\n\n</think>\n\n"),
    ("<think>\nbpm: 120\n</think>\n\n# Lyric\nla", "<think>\nbpm: 120\n</think>\n\n# Lyric\nla"),
    ("la", "<think>\n\n</think>\n\nla"),
])
def test_the_assistants_turn_is_closed_with_its_block(tokenizer, answer, rendered):
    text = tokenizer.apply_chat_template(messages("{}", answer), tokenize=False)
    assert text == f"{HEAD}{rendered}<|im_end|>\n"


def test_thinking_can_be_switched_off(tokenizer):
    text = tokenizer.apply_chat_template(
        messages("{}"), tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    assert text == HEAD + "<think>\n\n</think>\n\n"


def test_an_earlier_answer_is_shown_without_an_empty_block(tokenizer):
    again = [*messages("{}", "la"), {"role": "user", "content": "more"}]
    text = tokenizer.apply_chat_template(again, tokenize=False)
    assert text == f"{HEAD}la<|im_end|>\n<|im_start|>user\nmore<|im_end|>\n"


@torch.no_grad()
def continued(model: Any, ids: list[int], count: int, allowed: slice) -> tuple[list[int], list[float]]:
    """Greedy continuation by tokens of a range, and the standard deviation of all logits at each step."""
    found: list[int] = []
    deviations: list[float] = []
    cache, fed = None, torch.tensor([ids])
    for _ in range(count):
        answer = model(fed, past_key_values=cache, use_cache=True)
        logits, cache = answer.logits[0, -1], answer.past_key_values
        deviations.append(float(logits.std()))
        found.append(int(logits[allowed].argmax()) + (allowed.start or 0))
        fed = torch.tensor([found[-1:]])
    return found, deviations


@pytest.mark.parametrize("kind", ["words", "codes", "anything"])
def test_logits_are_decided_and_no_token_repeats_for_ever(model, tokenizer, kind):
    first = tokenizer.convert_tokens_to_ids("<|audio_code_0|>")
    allowed = {"words": slice(0, first - 5), "codes": slice(first, first + 64_000), "anything": slice(None)}[kind]
    outputs = []
    for caption in CAPTIONS:
        ids = tokenizer(tokenizer.apply_chat_template(messages(caption), tokenize=False, add_generation_prompt=True))
        tokens, deviations = continued(model, ids.input_ids, 150, allowed)
        assert min(deviations) >= 3
        assert sum(one == other for one, other in pairwise(tokens)) < 15
        assert Counter(tokens).most_common(1)[0][1] < 30
        outputs.append(tuple(tokens))
    assert len(set(outputs)) == len(CAPTIONS)  # the caption is heard


def test_the_tokenizer_comes_out_the_same_every_time(folder):
    assert Tokenizer.from_file(str(folder / "tokenizer.json")).to_str() == tiny_lm_tokenizer.build().to_str()
