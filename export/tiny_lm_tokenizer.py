"""The embedded LM's tokenizer and chat template: Qwen3's token order, with the 5 Hz LM's audio codes after it."""

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from . import tiny_tokenizer

PAD, START, END = tiny_tokenizer.SPECIAL
THINK, THINK_END = "<think>", "</think>"
# As many as upstream has; FSQ levels [8,8,8,5,5,5] give meaning to the first 64,000 only.
CODES = 65_535
_WORDS = 2048

_NOTES = ("", "#", "b", "♯", "♭")
_BLOCK = """\
bpm: 120
bpm: 75
caption: A calm acoustic guitar ballad with warm female vocals, soft piano and slow drums that builds towards
  a wide, bright chorus with strings and choir.
caption: An upbeat electronic dance track with heavy bass, a bright synth lead and a driving beat.
duration: 30
duration: 184
genres: acoustic folk ballad
genres: lo-fi hip hop
keyscale: C major
language: en
timesignature: 4

ar az bg bn ca cs da de el en es fa fi fr he hi hr ht hu id is it ja ko la lt ms ne nl no pa pl pt ro ru
sa sk sr sv sw ta te th tl tr uk ur vi yue zh unknown

"""
_PROMPTS = """\
system
# Instruction
Generate audio semantic tokens based on the given conditions:

Understand the given musical conditions and describe the audio semantics accordingly:

Expand the user's input into a more detailed and specific musical description:

Format the user's input into a more detailed and specific musical description:

user
# Caption
cinematic orchestral strings, epic brass and choir; rock, metal, jazz, soul, pop, ambient drone

# Lyric
[Verse 1]
walking home beneath the morning light, the river sings the night away
[Pre-Chorus]
every window holds a candle, every shadow knows my name

[Chorus]
I want to dance with you until the stars are gone, my heart will never be alone again

[Bridge] [Intro] [Outro] [Hook] [Instrumental] [Guitar Solo] [Fade Out]
NO USER INPUT

instrumental: true
instrumental: false
N/A
assistant
"""

# Renders what Qwen3's own template does for the messages that are sent here (no tools, no images): each turn is
# <|im_start|>role\ncontent<|im_end|>\n, and the assistant's last turn always has a thinking block of its own lines.
_TEMPLATE = """\
{%- for message in messages -%}
  {{- '<|im_start|>' + message.role + '\\n' -}}
  {%- if message.role != 'assistant' -%}
    {{- message.content -}}
  {%- else -%}
    {%- set parts = message.content.split('</think>') -%}
    {%- set thoughts = parts[0].split('<think>')[-1].strip('\\n') if parts | length > 1 else '' -%}
    {%- if thoughts or loop.last -%}
      {{- '<think>\\n' + thoughts + '\\n</think>\\n\\n' + parts[-1].lstrip('\\n') -}}
    {%- else -%}
      {{- parts[-1].lstrip('\\n') -}}
    {%- endif -%}
  {%- endif -%}
  {{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<|im_start|>assistant\\n' -}}
  {%- if enable_thinking is defined and enable_thinking is false -%}
    {{- '<think>\\n\\n</think>\\n\\n' -}}
  {%- endif -%}
{%- endif -%}
"""


def build() -> Tokenizer:
    """The tokenizer; the same one every time. It appends no end token."""
    tokenizer = tiny_tokenizer.train(_texts(), _WORDS)
    tokenizer.add_special_tokens([_added(token, special=True) for token in (PAD, START, END)])
    tokenizer.add_tokens([_added(token, special=False) for token in (THINK, THINK_END)])  # text to Qwen3, too
    tokenizer.add_special_tokens([_added(f"<|audio_code_{code}|>", special=True) for code in range(CODES)])
    return tokenizer


def write(folder: Path) -> Tokenizer:
    """tokenizer.json, tokenizer_config.json and chat_template.jinja; returns the tokenizer."""
    tokenizer = build()
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    # transformers takes 2 s to copy a description of every code, which it does without as soon as some are given here.
    named = {tokenizer.token_to_id(token): token for token in (PAD, START, END, THINK, THINK_END)}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": PAD,
        "model_max_length": 131072,
        "clean_up_tokenization_spaces": False,
        "added_tokens_decoder": {str(number): _described(token) for number, token in named.items()},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    (folder / "chat_template.jinja").write_text(_TEMPLATE)
    return tokenizer


def _described(token: str) -> dict[str, Any]:
    flags = dict.fromkeys(("lstrip", "rstrip", "single_word", "normalized"), False)
    return {"content": token, **flags, "special": token not in (THINK, THINK_END)}


def _added(token: str, special: bool) -> AddedToken:
    return AddedToken(token, normalized=False, special=special)


def _texts() -> list[str]:
    keys = [f"keyscale: {note}{sign} {mode}\n" for note in "CDEFGAB" for sign in _NOTES for mode in ("major", "minor")]
    return [_PROMPTS, _BLOCK, *keys]
