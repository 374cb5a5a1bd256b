"""A small byte-level BPE tokenizer in the shape of Qwen3-Embedding's: any text encodes, one end token is appended."""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

END = "<|endoftext|>"
SPECIAL = (END, "<|im_start|>", "<|im_end|>")
VOCABULARY = 1536

# Words, numbers of up to one digit, punctuation and white space, cut as in the Qwen family.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_TEXTS = """\
# Instruction
Fill the audio semantic mask based on the given conditions:
Repaint the mask area based on the given conditions:
Generate audio semantic tokens based on the given conditions:
Extract the track from the audio: Generate the track based on the audio context: Complete the input track with

# Caption
a calm acoustic guitar ballad with warm female vocals, soft piano and slow drums
upbeat electronic dance music with heavy bass, bright synth lead and driving beat
cinematic orchestral strings, epic brass and choir; lo-fi hip hop beats to study, jazz, rock, metal, folk, pop

# Metas
- bpm: 120
- timesignature: 4
- keyscale: C major
- keyscale: A minor
- duration: 30 seconds
- bpm: N/A

# Languages
en zh ja ko unknown

# Lyric
[Verse] [Chorus] [Bridge] [Intro] [Outro] [Instrumental]
walking home beneath the morning light, the river sings the night away
I want to dance with you until the stars are gone, my heart will never be alone again
love and dream and time, the fire in your eyes, the rain, the sun, the ocean and the sky
"""


def build() -> Tokenizer:
    """The tokenizer; the same one every time."""
    tokenizer = train(_TEXTS.splitlines(keepends=True), VOCABULARY - len(SPECIAL))
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", pair=f"$A {END} $B {END}", special_tokens=[(END, tokenizer.token_to_id(END))]
    )
    return tokenizer


def train(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """A byte-level BPE of at most `vocabulary` tokens, without any special token or post-processor."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=1,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def write(folder: Path) -> int:
    """tokenizer.json and tokenizer_config.json; returns the number of token ids."""
    tokenizer = build()
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": END,
        "padding_side": "right",
        "model_max_length": 131072,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    return int(tokenizer.get_vocab_size(with_added_tokens=True))
