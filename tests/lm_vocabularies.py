"""Vocabularies for the guidance's tests: the embedded LM's own, and small ones that make life hard."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from export import tiny_lm_tokenizer
from lm_guidance.constraint import Grammar
from lm_guidance.vocabulary import Vocabulary

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
# Cuts as in the Qwen family, where punctuation takes the newlines after it along.
SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEXT = """\
bpm: 120
caption: A calm ballad.
  It ends quietly!
duration: 30
keyscale: C major
language: en

# Lyric
[Verse]
中文 中文 中文, 아름다운 노래 아름다운 노래.

(oh)

(oh)
"""


def bpe(merges: int, codes: int = 300) -> Tokenizer:
    """A byte-level BPE of so many merges learnt from TEXT; 0: bytes only."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=256 + merges, min_frequency=1, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in SPECIAL])
    tokenizer.add_special_tokens([AddedToken(f"<|audio_code_{n}|>", normalized=False) for n in range(codes)])
    return tokenizer


def read(tokenizer: Tokenizer) -> Vocabulary:
    """The vocabulary of the tokenizer's file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        tokenizer.save(str(path))
        return Vocabulary.load(path)


@cache
def tokenizer_named(name: str) -> Tokenizer:
    """`embedded`, or `bpe-N`."""
    return tiny_lm_tokenizer.build() if name == "embedded" else bpe(int(name.removeprefix("bpe-")))


@cache
def grammar_named(name: str) -> Grammar:
    return Grammar(read(tokenizer_named(name)))
