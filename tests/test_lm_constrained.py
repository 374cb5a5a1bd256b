"""What the LM writes under constraints is always well formed: blocks field by field, codes to the last one."""

import asyncio
import json
import random
import re

import pytest

from lm_guidance.fields import LANGUAGES
from tests.lm_client import Ask, Row, write

CODE = re.compile(r"<\|audio_code_(\d+)\|>")
KEY = re.compile(r"[A-G][#b♯♭]? (major|minor)")
FIELDS = ("bpm", "caption", "duration", "genres", "keyscale", "language", "timesignature")
CAPTION_MAX, TEXT_MAX, DURATION_MAX = 32, 48, 90
GIVEN = {"bpm": "77", "duration": "300", "keyscale": "F♯ minor", "language": "yue", "timesignature": "6"}
PROMPT = "<|im_start|>user\n# Caption\n{}\n\n# Lyric\nla la\n<|im_end|>\n<|im_start|>assistant\n"


def block(seed: int) -> Ask:
    """A block with fields left out and forced at random, guided, by API sampling but warmer."""
    draw = random.Random(seed)
    fields = [[name, GIVEN.get(name) if draw.random() < 0.3 else None] for name in FIELDS if draw.random() < 0.85]
    then = draw.choice(["end", "text"])
    return Ask(
        prompt=PROMPT.format(f"number {seed}"), negative=PROMPT.format("nothing"), purpose="metadata", seed=seed,
        max_tokens=400, voice={"temperature": draw.choice([0.85, 1.5]), "top_k": 0, "top_p": draw.choice([0.9, 1.0])},
        repetition_penalty=draw.choice([1.0, 1.3]),
        constraint={"block": {"fields": fields, "duration_max": DURATION_MAX, "caption_max": CAPTION_MAX, "then": then,
                              "text_max": TEXT_MAX}})


def codes(seed: int, count: int) -> Ask:
    return Ask(prompt=PROMPT.format(f"codes {seed}"), negative=PROMPT.format(""), seed=seed, max_tokens=count + 1,
               constraint={"codes": count})


async def write_all(stack, asks: list[Ask]) -> list[Row]:
    return await asyncio.gather(*(write(stack.triton_grpc, "lm", ask) for ask in asks))


def check_block(ask: Ask, row: Row) -> None:
    """Read line by line, by rules of this test's own."""
    assert ask.constraint is not None
    form = ask.constraint["block"]
    assert row.finish == "stop", row
    assert row.text.count("<|im_end|>") <= 1
    text = row.text.removesuffix("<|im_end|>")
    assert "�" not in text
    body, closed, lyrics = text.partition("</think>")
    assert closed
    assert lyrics.startswith("\n\n") if form["then"] == "text" else lyrics == ""
    assert not re.search(r"<\|[a-z_0-9]+\|>|</?think>", lyrics)
    lines = body.split("\n")
    assert lines[0] == "<think>"
    assert lines[-1] == ""
    lines = lines[1:-1]
    for name, given in form["fields"]:
        line = lines.pop(0)
        assert line.startswith(f"{name}: "), (line, name)
        value = line.removeprefix(f"{name}: ")
        while name in ("caption", "genres") and lines and lines[0].startswith("  "):
            value += lines.pop(0)[1:]
        check_value(name, value, given)
    assert lines == []


def check_value(name: str, value: str, given: str | None) -> None:
    if given is not None:
        assert value == given
    elif name == "bpm":
        assert str(int(value)) == value
        assert 30 <= int(value) <= 300
    elif name == "duration":
        assert str(int(value)) == value
        assert 10 <= int(value) <= DURATION_MAX
    elif name == "keyscale":
        assert KEY.fullmatch(value)
    elif name == "language":
        assert value in LANGUAGES
    elif name == "timesignature":
        assert value in ("2", "3", "4", "6")
    else:
        assert value.strip()
        assert not set("<`") & set(value)


def check_codes(ask: Ask, row: Row) -> None:
    assert ask.constraint is not None
    text = row.text.removesuffix("<|im_end|>")
    found = [int(code) for code in CODE.findall(text)]
    assert CODE.sub("", text) == ""
    assert len(found) == ask.constraint["codes"]
    assert max(found) <= 63_999
    assert (row.finish, row.tokens) == ("stop", len(found) + 1)


async def check_all(stack, blocks: int, lengths: list[int]) -> None:
    asks = [block(seed) for seed in range(blocks)]
    phases = [codes(seed, count) for seed, count in enumerate(lengths)]
    rows = await write_all(stack, asks + phases)
    for ask, row in zip(asks, rows, strict=False):
        try:
            check_block(ask, row)
        except AssertionError as error:
            raise AssertionError(f"{json.dumps(ask.constraint)}\n{row}") from error
    for ask, row in zip(phases, rows[blocks:], strict=True):
        check_codes(ask, row)
    assert len({row.text for row in rows}) == len(rows)


async def test_40_blocks_and_10_code_phases(stack):
    await check_all(stack, 40, [50, 51, 52, 60, 75, 100, 150, 300, 600, 1000])


@pytest.mark.slow
async def test_200_blocks_and_50_code_phases(stack):
    draw = random.Random(5)
    await check_all(stack, 200, [50, 3000, 3000] + [draw.randrange(50, 3000) for _ in range(47)])
