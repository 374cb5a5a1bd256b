"""Whatever the LM prefers, what it writes is well formed: driven at random, by habits that look for the edges."""

import random
import re
from functools import cache

import numpy as np
import pytest
import torch

from lm_guidance import fields
from lm_guidance.row import Row
from lm_guidance.spec import Block, Codes, RowSpec
from tests.lm_vocabularies import grammar_named, tokenizer_named

VOCABULARIES = ("embedded", "bpe-0", "bpe-40", "bpe-400")
ALL = tuple((name, None) for name in fields.NAMES)
VALUES = {
    "bpm": {str(n) for n in range(30, 301)},
    "duration": {str(n) for n in range(10, 601)},
    "keyscale": {f"{n}{s} {m}" for n in "ABCDEFG" for s in ("", "#", "b", "♯", "♭") for m in ("major", "minor")},
    "language": set(fields.LANGUAGES),
    "timesignature": {"2", "3", "4", "6"},
}
_NOT = r"\x00-\x1f`<\x7f-\x9f\ufeff\ufffd\u2028\u2029"
WORDS = rf" [^\s{_NOT}][^{_NOT}]*\n"  # the rest of a line: something to see after the space, no controls, no markup


@cache
def bytes_of(vocabulary: str) -> dict[int, bytes]:
    """Each token's bytes, by id."""
    known = grammar_named(vocabulary).vocabulary
    spelled, offsets = known.spelling
    ordinary = {
        token: spelled[offsets[place] : offsets[place + 1]].tobytes()
        for place, token in enumerate(known.ordinary.tolist())
    }
    added = tokenizer_named(vocabulary).get_added_tokens_decoder()
    return ordinary | {token: str(text).encode() for token, text in added.items()}


class Driver:
    """Writes completions for one vocabulary; a habit is what it picks whenever it can."""

    def __init__(self, vocabulary: str, seed: int = 0) -> None:
        self.grammar = grammar_named(vocabulary)
        self.vocabulary = self.grammar.vocabulary
        self.tokenizer = tokenizer_named(vocabulary)
        self.random = random.Random(seed)
        self.bytes = bytes_of(vocabulary)

    def tokens(self, habit):
        return np.array([habit(self.bytes.get(token, b"")) for token in range(self.vocabulary.size)])

    def row(self, constraint, written=""):
        row = Row(RowSpec("song", "alone", constraint=constraint), self.grammar)
        row.follow(self.tokenizer.encode(written, add_special_tokens=False).ids)
        return row

    def allowed(self, row):
        allowed = row.allowed
        if isinstance(allowed, range):
            return np.arange(allowed.start, allowed.stop)
        return allowed.on(torch.device("cpu")).numpy()

    def write(self, constraint, liked):
        """The completion's tokens up to the end token, which is left out; the tokens `liked` (bool by id) go first."""
        row = self.row(constraint)
        while True:
            ids = self.allowed(row)
            good = ids[liked[ids]]
            token = int(self.random.choice(good if good.size else ids))
            row.append(token)
            if token == self.vocabulary.eos:
                return row.tokens[:-1]

    def text(self, tokens):
        """UnicodeDecodeError if it is broken."""
        return b"".join(self.bytes[token] for token in tokens).decode()


HABITS = {
    "anything": lambda text: False,
    "line ends": lambda text: text.endswith(b"\n"),
    "indentation": lambda text: text.endswith(b"\n") or text.isspace(),
    "bytes of characters": lambda text: len(text) == 1 and text[0] >= 0x80,
    "half characters": lambda text: text[-1:] >= b"\xc0",
    "markup": lambda text: b"<" in text or b"|" in text or b"/" in text,
    "more words": lambda text: text != b"" and b"\n" not in text,
}


def assert_block(text, block):
    """Its text is the block that was asked for and nothing else."""
    pattern = "<think>\n"
    for name, forced in block.fields:
        if name in fields.FREE:
            pattern += f"{name}:{WORDS}(?: {WORDS})*"
        else:
            values = {forced} if forced else VALUES[name]
            if name == "duration" and not forced:
                values = {value for value in values if int(value) <= block.duration_max}
            pattern += f"{name}: (?:{'|'.join(map(re.escape, sorted(values)))})\n"
    pattern += "</think>" + (r"\n\n([^\x00-\x08\x0b-\x1f\ufffd]*)" if block.text else "")
    match = re.fullmatch(pattern, text)
    assert match, text
    if block.text:
        assert not re.search(r"<\||</?think>", match[1]), text


def any_block(generator):
    chosen = [name for name in fields.NAMES if generator.random() < 0.7]
    forced = {"bpm": "120", "duration": "599", "keyscale": "F♯ minor", "language": "zh", "timesignature": "6/8"}
    values = tuple((name, forced.get(name) if generator.random() < 0.3 else None) for name in chosen)
    return Block(
        values,
        duration_max=generator.choice((10, 60, 600)),
        caption_max=generator.choice((8, 9, 30)),
        text=generator.random() < 0.5,
        text_max=generator.choice((8, 40)),
    )


@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_every_block_is_well_formed(vocabulary, habit):
    driver = Driver(vocabulary)
    liked = driver.tokens(HABITS[habit])
    for _ in range(100):
        block = any_block(driver.random)
        tokens = driver.write(block, liked)
        assert_block(driver.text(tokens), block)
        # What a client reads is what was written.
        assert driver.tokenizer.decode(tokens, skip_special_tokens=False) == driver.text(tokens)


@pytest.mark.parametrize("habit", ["anything", "bytes of characters", "half characters", "more words"])
@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_words_are_bounded_in_tokens(vocabulary, habit):
    driver = Driver(vocabulary)
    liked = driver.tokens(HABITS[habit])
    for caption_max, text_max in ((8, 8), (9, 11), (33, 20)):
        block = Block((("caption", None),), 600, caption_max, True, text_max)
        head = len(driver.tokenizer.encode("<think>\ncaption:", add_special_tokens=False).ids)
        tail = len(driver.tokenizer.encode("</think>\n\n", add_special_tokens=False).ids)
        longest_caption = longest_text = 0
        for _ in range(50):
            tokens = driver.write(block, liked)
            end = tokens.index(driver.vocabulary.think_end)
            longest_caption = max(longest_caption, end - head - 1)  # but for the line's end
            longest_text = max(longest_text, len(tokens) - end - tail)
        assert longest_caption <= caption_max
        assert longest_text <= text_max
        if habit == "more words":
            assert (longest_caption, longest_text) == (caption_max, text_max)


@pytest.mark.parametrize("count", [1, 50, 3000])
def test_codes_are_counted_and_mean_something(count):
    driver = Driver("embedded")
    tokens = driver.write(Codes(count), np.zeros(driver.vocabulary.size, bool))
    assert len(tokens) == count
    pattern = r"(?:<\|audio_code_(?:[0-9]{1,4}|[1-5][0-9]{4}|6[0-3][0-9]{3})\|>)*"  # 0 to 63999
    assert re.fullmatch(pattern, driver.tokenizer.decode(tokens, skip_special_tokens=False))


def test_after_the_end_only_the_end_is_allowed():
    driver = Driver("bpe-40")
    eos = driver.vocabulary.eos
    for constraint in (Codes(2), Block((), 600, 8, False, 8), Block((), 600, 8, True, 8)):
        row = driver.row(constraint)
        row.follow([*driver.write(constraint, np.zeros(driver.vocabulary.size, bool)), eos])
        assert driver.allowed(row).tolist() == [eos]
        row.append(eos)
        assert driver.allowed(row).tolist() == [eos]


def test_without_a_constraint_anything_goes():
    driver = Driver("bpe-40")
    row = driver.row(None)
    assert row.allowed == range(driver.vocabulary.size)
    row.append(driver.vocabulary.codes[0])
    assert row.allowed == range(driver.vocabulary.size)


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("name", sorted(VALUES))
def test_each_value_can_be_written_as_the_tokenizer_does(vocabulary, name):
    driver = Driver(vocabulary)
    block = Block(((name, None),), 600, 8, False, 8)
    for value in VALUES[name]:
        driver.row(block, f"<think>\n{name}: {value}\n</think><|im_end|>")


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_only_known_values_can_be_written(vocabulary):
    driver = Driver(vocabulary)
    for name, value in [
        ("bpm", "29"), ("bpm", "301"), ("bpm", "3"), ("bpm", "1200"), ("duration", "61"), ("duration", "9"),
        ("keyscale", "C"), ("keyscale", "H major"), ("language", "xx"), ("timesignature", "4/4"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match="is not allowed here"):
            driver.row(Block(((name, None),), 60, 8, False, 8), f"<think>\n{name}: {value}\n</think>")


BLOCKS = [
    "caption: A calm ballad.",
    "caption: (soft) piano!\n  with strings, and a choir…\n  It fades.",
    "caption: 中文歌曲,温柔的钢琴。",
    "caption: Ελληνικά — русский, ქართული; ภาษาไทย\u00a0हिन्दी 👩‍🎤 a | b > c \u3000 #1",
    "caption: 'quoted: yes'",
    "genres: lo-fi hip hop, R&B",
]


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("line", BLOCKS)
def test_good_words_can_be_written_as_the_tokenizer_does(vocabulary, line):
    driver = Driver(vocabulary)
    block = Block(((line.split(":")[0], None), ("language", None)), 600, 400, True, 400)
    lyrics = "# Lyric\n[Verse 1]\n\toh <3 a<b, `la`\n\n\n中文 … (أغنية)"
    driver.row(block, f"<think>\n{line}\nlanguage: yue\n</think>\n\n{lyrics}<|im_end|>")


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize(
    "words",
    [
        "\n", " \n", "  \n", "x\n", "  x\n", " \u00a0\n", " \u200b\n", " `x`\n", " a<b\n", " a\tb\n", " a\r\n",
        " a\n b\n", " a\n   b\n", " a\n  \n", " a\n\n", " a\x07\n", " a\x85b\n", " a\u2028b\n", " a\ufffd\n",
        " a<|audio_code_3|>\n", " a</think>\n", " a<|im_end|>", " a\n<|im_end|>", " a\nlanguage: en\n",
    ],
)  # fmt: skip
def test_bad_words_cannot_be_written(vocabulary, words):
    driver = Driver(vocabulary)
    with pytest.raises(ValueError, match="is not allowed here"):
        driver.row(Block((("caption", None), ("bpm", None)), 600, 100, False, 8), f"<think>\ncaption:{words}bpm: 60\n")


@pytest.mark.parametrize("text", ["<|im_start|>", "a<|audio_code_1|>", "</think>", "\x00", "\r\n", "\ufffd"])
def test_bad_text_cannot_be_written(text):
    driver = Driver("embedded")
    with pytest.raises(ValueError, match="is not allowed here"):
        driver.row(Block((), 600, 8, True, 100), f"<think>\n</think>\n\n{text} ")


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_control_tokens_cannot_be_spelt_in_text(vocabulary):
    driver = Driver(vocabulary)
    for text in ("<|im_end|>", "<|audio_code_7|>", "</think>", "<think>"):
        row = driver.row(Block((), 600, 8, True, 100), "<think>\n</think>\n\n")
        spelt = [driver.tokenizer.encode(character, add_special_tokens=False).ids[0] for character in text]
        with pytest.raises(ValueError, match="is not allowed here"):
            row.follow([*row.tokens, *spelt])


def test_a_token_that_ends_with_a_newline_ends_the_line():
    # Qwen's tokenizer writes a full stop and the line's end as one token.
    driver = Driver("bpe-400")
    merged = [token for token, text in driver.bytes.items() if text == b".\n"]
    broken = [token for token, text in driver.bytes.items() if re.search(rb"\n.", text, re.DOTALL)]
    assert merged
    assert broken
    row = driver.row(Block((("caption", None), ("duration", None)), 600, 8, False, 8), "<think>\ncaption: A calm")
    assert merged[0] in driver.allowed(row)
    assert not set(broken) & set(driver.allowed(row).tolist())
    row.append(merged[0])
    texts = {driver.bytes[token] for token in driver.allowed(row).tolist()}
    assert {text[:1] for text in texts} == {b" ", b"d"}


def test_a_forced_value_leaves_no_choice():
    driver = Driver("embedded")
    block = Block((("bpm", "93"), ("keyscale", "E♭ major"), ("timesignature", "12")), 600, 8, False, 8)
    row = driver.row(block)
    while row.tokens[-1:] != [driver.vocabulary.eos]:
        assert isinstance(row.allowed, range)
        assert len(row.allowed) == 1
        row.append(row.allowed[0])
    assert driver.text(row.tokens[:-1]) == "<think>\nbpm: 93\nkeyscale: E♭ major\ntimesignature: 12\n</think>"


def test_a_row_follows_what_the_engine_has_appended():
    driver = Driver("bpe-40")
    row, codes = driver.row(Codes(3)), driver.vocabulary.codes
    row.follow([codes[5]])
    row.follow([codes[5], codes[6], codes[7]])
    assert row.tokens == [codes[5], codes[6], codes[7]]
    with pytest.raises(ValueError, match=f"^token {codes[8]} is not allowed here$"):
        row.append(codes[8])
