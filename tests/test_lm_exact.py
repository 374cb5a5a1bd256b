"""Guidance on vLLM is exact: guided pairs equal a plain two-row PyTorch loop, whoever shares the engine."""

import asyncio
import random
from dataclasses import replace

import pytest

from pipeline.lm import prompts
from pipeline.lm.prompts import Brief
from tests.conftest import wait_for_model
from tests.lm_client import GREEDY, VOICE, Ask, write

PAIRS = 32
CODES = 24
WORDS = ("walking", "home", "beneath", "the", "morning", "light", "river", "sings", "your", "name", "night", "again")


@pytest.fixture(scope="module")
def engines(stack):
    """The stack with its second engine there too."""
    wait_for_model(stack, "lm_pt")
    return stack


def lyrics(words: int, seed: int) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(words))


def guided(index: int, **changes) -> Ask:
    """A codes call of its own: prompts from about 40 to about 600 tokens, an unconditional row that differs."""
    brief = Brief(f"song number {index}", lyrics(index * 17, index))
    block = f"<think>\nbpm: {60 + index}\nduration: {10 + index}\n</think>"
    ask = Ask(
        prompt=render(prompts.codes_prompt(brief, block)),
        negative=render(prompts.codes_negative(lyrics(index * 5, -index))),
        constraint={"codes": CODES}, max_tokens=CODES + 1, seed=index)
    return replace(ask, **changes)


def render(prompt) -> str:
    turns = "".join(f"<|im_start|>{turn.role}\n{turn.content}<|im_end|>\n" for turn in prompt.turns)
    return turns + "<|im_start|>assistant\n" + prompt.begun


async def all_of(stack, model, asks, apart=0.0, stagger=0.0):
    async def one(index, ask):
        await asyncio.sleep(index * stagger)
        return await write(stack.triton_grpc, model, ask, apart=apart)

    return [row.text for row in await asyncio.gather(*(one(i, ask) for i, ask in enumerate(asks)))]


@pytest.fixture(scope="module")
def oracle(engines):
    """The texts of the 32 greedy pairs by the plain loop."""
    return asyncio.run(all_of(engines, "lm_pt", [guided(i, voice=GREEDY) for i in range(PAIRS)]))


@pytest.mark.parametrize(("apart", "stagger"), [(0.0, 0.0), (0.0, 0.02), (0.15, 0.01)],
                         ids=["at once", "staggered", "halves apart"])
async def test_32_greedy_pairs_equal_the_plain_loop(engines, oracle, apart, stagger):
    asks = [guided(i, voice=GREEDY) for i in range(PAIRS)]
    texts = await all_of(engines, "lm", asks, apart, stagger)
    assert len(set(oracle)) == PAIRS, "the pairs differ, or the comparison says little"
    assert [i for i in range(PAIRS) if texts[i] != oracle[i]] == []


async def test_guidance_changes_what_is_written(engines, oracle):
    unguided = await all_of(engines, "lm", [guided(i, voice=GREEDY, cfg_scale=1.0) for i in range(4)])
    assert all(plain != guided for plain, guided in zip(unguided, oracle, strict=False))


@pytest.mark.parametrize("penalty", [1.0, 1.3])
async def test_a_seed_is_the_same_text_alone_among_16_and_on_either_engine(engines, penalty):
    asks = [guided(i, voice=VOICE, repetition_penalty=penalty) for i in range(17)]
    alone = [(await all_of(engines, "lm", [ask]))[0] for ask in asks[:3]]
    together = await all_of(engines, "lm", asks)
    plain = await all_of(engines, "lm_pt", asks[:8])
    assert together[:3] == alone
    assert together[:8] == plain
    assert len(set(together)) == 17
    other_seed = await all_of(engines, "lm", [guided(0, voice=VOICE, repetition_penalty=penalty, seed=99)])
    assert other_seed != alone[:1]


async def test_a_metadata_block_and_its_lyrics_too(engines):
    block = {"block": {"fields": [["bpm", None], ["caption", None], ["duration", None], ["keyscale", None]],
                       "duration_max": 60, "caption_max": 24, "then": "text", "text_max": 32}}
    for penalty in (1.0, 1.3):
        asks = [guided(i, voice=VOICE, constraint=block, max_tokens=200, purpose="metadata", repetition_penalty=penalty)
                for i in range(6)]
        assert await all_of(engines, "lm", asks) == await all_of(engines, "lm_pt", asks)
