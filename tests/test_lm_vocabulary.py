"""A tokenizer's file gives the guidance what it needs, or is refused with one line."""

import json

import pytest

from lm_guidance.constraint import Grammar
from lm_guidance.vocabulary import Vocabulary
from tests.lm_vocabularies import bpe, grammar_named, read, tokenizer_named


def _changed(tmp_path, change):
    content = json.loads(bpe(0).to_str())
    change(content)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content))
    return path


def test_the_embedded_lms_tokens_are_found():
    tokenizer, vocabulary = tokenizer_named("embedded"), grammar_named("embedded").vocabulary
    assert vocabulary.size == tokenizer.get_vocab_size()
    assert vocabulary.eos == tokenizer.token_to_id("<|im_end|>")
    assert (vocabulary.think, vocabulary.think_end) == tuple(map(tokenizer.token_to_id, ("<think>", "</think>")))
    # 65,535 exist, 64,000 mean something.
    assert len(vocabulary.codes) == 64_000
    assert tokenizer.id_to_token(vocabulary.codes[-1]) == "<|audio_code_63999|>"
    assert "<|im_start|>" in vocabulary.added


@pytest.mark.parametrize("name", ["embedded", "bpe-0", "bpe-400"])
def test_ordinary_tokens_have_the_bytes_that_the_tokenizer_decodes(name):
    tokenizer, vocabulary = tokenizer_named(name), grammar_named(name).vocabulary
    spelled, offsets = vocabulary.spelling
    assert set(map(tokenizer.id_to_token, vocabulary.ordinary.tolist())).isdisjoint(vocabulary.added)
    for place, token in enumerate(vocabulary.ordinary.tolist()):
        text = spelled[offsets[place] : offsets[place + 1]].tobytes().decode(errors="replace")
        assert text == tokenizer.decode([token])


def test_the_tokenizer_spells_text_as_it_does_itself():
    vocabulary = grammar_named("embedded").vocabulary
    text = "keyscale: C♯ major\n"
    assert list(vocabulary.encode(text)) == tokenizer_named("embedded").encode(text, add_special_tokens=False).ids
    with pytest.raises(ValueError, match=r"^tokenizer.json: cannot write 'a<think>' with ordinary tokens$"):
        vocabulary.encode("a<think>")


def test_codes_may_be_ordinary_entries_of_the_vocabulary(tmp_path):
    def move(content):
        tokens = content["added_tokens"]
        content["added_tokens"] = [token for token in tokens if "audio_code" not in token["content"]]
        for token in tokens:
            if "audio_code" in token["content"]:
                content["model"]["vocab"][token["content"]] = token["id"]

    moved, usual = Vocabulary.load(_changed(tmp_path, move)), read(bpe(0))
    assert (moved.codes, moved.size, moved.added) == (usual.codes, usual.size, usual.added)
    assert moved.ordinary.tolist() == usual.ordinary.tolist()


def _without(text):
    def change(content):
        content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] != text]

    return change


NO_BPE = "not a byte-level BPE with a token for each byte"
NO_RUN = r"<\|audio_code_0\|> and the following ones must have ids in a row"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (_without("<think>"), "no token <think>"),
        (_without("</think>"), "no token </think>"),
        (_without("<|im_end|>"), r"no token <\|im_end\|>"),
        (_without("<|audio_code_0|>"), NO_RUN),
        (_without("<|audio_code_99|>"), NO_RUN),
        (lambda content: content["model"]["vocab"].pop("Ā"), NO_BPE),
        (lambda content: content["model"].update(vocab=[["a", 0.5]]), NO_BPE),
        (lambda content: content["model"]["vocab"].update({"▁a": 999}), NO_BPE),
    ],
)
def test_what_is_missing_is_named(tmp_path, change, line):
    with pytest.raises(ValueError, match=f"^tokenizer.json: {line}$"):
        Vocabulary.load(_changed(tmp_path, change))


def test_a_tokenizer_that_cannot_write_a_value_is_refused_at_once(tmp_path):
    vocabulary = Vocabulary.load(_changed(tmp_path, lambda content: content.update(normalizer={"type": "Lowercase"})))
    with pytest.raises(ValueError, match=r"^tokenizer.json: cannot write 'keyscale: A major\\n' with ordinary tokens$"):
        Grammar(vocabulary)
