"""Guided rows on a real vLLM engine: what comes out is what a plain two-row loop computes, and nobody waits in vain."""

import asyncio
import random
import time
import uuid
from dataclasses import dataclass

import psutil
import pytest
import torch
from tokenizers import Tokenizer

from export import tiny_lm
from tests.vllm_rows import GREEDY, engine_arguments, row_spec, vllm_environment

PAIRS = 32
CODES = 24
SCALE = 2.5
MODEL_LEN = 704


@dataclass(frozen=True)
class Checkpoint:
    folder: str
    first_code: int
    eos: int


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm") / "lm"
    tiny_lm.write(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    first_code, eos = tokenizer.token_to_id("<|audio_code_0|>"), tokenizer.token_to_id("<|im_end|>")
    assert first_code is not None
    assert eos is not None
    return Checkpoint(str(folder), first_code, eos)


class Counts:
    """A stat logger of vLLM's: the engine's counts as it last told them."""

    running = 0
    kv_usage = 0.0
    prefix_hits = 0

    def __init__(self, *args):
        pass

    def record(self, scheduler_stats, iteration_stats, **kwargs):
        if scheduler_stats is not None:
            Counts.running = scheduler_stats.num_running_reqs
            Counts.kv_usage = scheduler_stats.kv_cache_usage
            Counts.prefix_hits += scheduler_stats.prefix_cache_stats.hits

    def log(self):
        pass

    log_engine_initialized = log


class Client:
    """Sends rows to the engine; an answer is the tokens and the finish reason."""

    def __init__(self, llm):
        self.llm = llm

    async def send(self, prompt, extra=None, max_tokens=CODES + 1, **parameters):
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        params = SamplingParams(
            temperature=0, max_tokens=max_tokens, extra_args=extra and {"acestep": extra},
            output_kind=RequestOutputKind.DELTA, **parameters,
        )  # fmt: skip
        tokens, reason = [], None
        async for output in self.llm.generate({"prompt_token_ids": prompt}, params, uuid.uuid4().hex):
            tokens += output.outputs[0].token_ids
            reason = output.outputs[0].finish_reason
        return tokens, reason

    async def send_pair(self, prompts, delay=0.0, count=CODES, **row):
        pair = uuid.uuid4().hex
        halves = [codes_row(role, pair, count=count, **row) for role in ("conditional", "unconditional")]
        first = asyncio.create_task(self.send(prompts[0], halves[0], count + 1))
        await asyncio.sleep(delay)
        return await asyncio.gather(first, self.send(prompts[1], halves[1], count + 1))

    async def control(self, role, song):
        return await self.send([1], {"role": role, "song": song}, max_tokens=1)


async def until(holds):
    while not holds():  # noqa: ASYNC110, the engine tells in its own time
        await asyncio.sleep(0.01)


def codes_row(role, pair="", song="song", sample=GREEDY, count=CODES):
    return row_spec(role, song, pair, sample=sample, constraint={"codes": count})


@pytest.fixture(scope="module")
async def client(checkpoint):
    with vllm_environment():
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        few_blocks = {"num_gpu_blocks_override": 70, "max_num_batched_tokens": 4 * MODEL_LEN, "max_num_seqs": 64}
        arguments = engine_arguments(MODEL_LEN, model=checkpoint.folder, **few_blocks)
        begin = time.monotonic()
        llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments), stat_loggers=[Counts])
        print(f"engine start {time.monotonic() - begin:.1f} s")
        yield Client(llm)
        llm.shutdown()


def draw_prompts(seed):
    """Pairs of prompts of 20 to 600 tokens; every third begins as its neighbours do."""
    draw = random.Random(seed)
    shared = [draw.randrange(600) for _ in range(256)]
    prompts = []
    for number in range(2 * PAIRS):
        length = draw.randint(20, 600 if number % 2 == 0 else 200)
        own = [draw.randrange(600) for _ in range(length)]
        prompts.append(shared[: length - 10] + own[len(shared[: length - 10]) :] if number % 3 == 0 else own)
    return list(zip(prompts[::2], prompts[1::2], strict=True))


@pytest.fixture(scope="module")
def model(checkpoint):
    from transformers import Qwen3ForCausalLM

    return Qwen3ForCausalLM.from_pretrained(checkpoint.folder, dtype=torch.float32).eval()


@torch.no_grad()
def two_row_loop(model, checkpoint, prompts, codes):
    """What a plain greedy two-row loop writes where it has written `codes` so far: at each place the best code of
    u + scale (c - u), then the end. It is the loop itself if it is `codes`: a place depends on those before alone."""
    conditional, unconditional = (
        model(torch.tensor([prompt + codes[:-1]]), logits_to_keep=CODES).logits[0] for prompt in prompts
    )
    guided = (unconditional + SCALE * (conditional - unconditional))[:, checkpoint.first_code :][:, :64_000]
    return [*(checkpoint.first_code + guided.argmax(1)).tolist(), checkpoint.eos]


@pytest.mark.parametrize("spread", [0.0, 0.2])
async def test_guided_rows_are_what_a_two_row_loop_computes(client, model, checkpoint, spread):
    """32 pairs on a KV cache for about half of them, at once, then scattered with their halves up to 0.2 s apart."""
    draw = random.Random(1)

    async def send(prompts):
        await asyncio.sleep(draw.uniform(0, 5 * spread))
        return await client.send_pair(prompts, draw.uniform(0, spread))

    begin = time.monotonic()
    answers = await asyncio.gather(*(send(prompts) for prompts in draw_prompts(0)))
    print(f"{PAIRS} pairs in {time.monotonic() - begin:.1f} s")
    for prompts, (conditional, unconditional) in zip(draw_prompts(0), answers, strict=True):
        assert conditional == unconditional
        assert conditional == (two_row_loop(model, checkpoint, prompts, conditional[0][:CODES]), "stop")
    if spread:
        assert Counts.prefix_hits > 0  # the prompts of the first run were cached


async def test_sampled_rows_do_not_depend_on_their_neighbours(client):
    prompts = [(conditional[:100], unconditional[:90]) for conditional, unconditional in draw_prompts(2)[:12]]
    samples = [GREEDY | {"temperature": 0.85, "top_p": 0.9, "seed": seed} for seed in range(12)]
    songs = list(zip(prompts, samples, strict=True))
    alone = [(await client.send_pair(prompt, sample=sample))[0] for prompt, sample in songs]
    together = await asyncio.gather(*(client.send_pair(prompt, sample=sample) for prompt, sample in songs))
    assert [conditional for conditional, _ in together] == alone
    assert [unconditional for _, unconditional in together] == alone
    assert len({tuple(tokens) for tokens, _ in alone}) == 12


async def test_requests_that_are_none_of_ours_are_vllms(client, model):
    prompt = draw_prompts(3)[0][0][:50]
    answer, neighbour = await asyncio.gather(client.send(prompt, max_tokens=16), client.send_pair((prompt, prompt)))
    plain = model.generate(torch.tensor([prompt]), max_new_tokens=16, do_sample=False, eos_token_id=None)
    assert answer[0] == plain[0, 50:].tolist()[: len(answer[0])]
    assert neighbour[0][1] == "stop"


@pytest.mark.parametrize(("changes", "message"), [
    ({"role": "both"}, "role: one of"), ({"cfg_scale": 11}, "cfg_scale: a number from 0 to 10"),
])  # fmt: skip
async def test_what_is_wrong_with_a_request_reaches_its_client(client, changes, message):
    from vllm.exceptions import VLLMValidationError

    with pytest.raises(VLLMValidationError, match=message):
        await client.send([1], codes_row("conditional", "pair") | changes)


async def test_parameters_that_would_part_a_pair_are_refused(client):
    from vllm.exceptions import VLLMValidationError

    with pytest.raises(VLLMValidationError, match="stop: not together with acestep"):
        await client.send([1], codes_row("alone"), stop=["x"])


async def test_a_cancelled_song_leaves_the_engine_empty_within_a_second(client):
    songs = {name: uuid.uuid4().hex for name in ("running", "arriving")}
    prompt = draw_prompts(4)[0][0][:100]
    rows = [asyncio.create_task(client.send_pair((prompt, prompt), song=songs["running"], count=500)) for _ in range(3)]
    rows += [asyncio.create_task(client.send(prompt, codes_row("conditional", uuid.uuid4().hex, songs["running"])))]
    await until(lambda: Counts.running)
    rows += [asyncio.create_task(client.send_pair((prompt, prompt), song=songs["arriving"])) for _ in range(2)]
    await asyncio.sleep(0)
    assert (await client.control("ask", songs["running"]))[1] == "stop"
    begin = time.monotonic()
    assert [(await client.control("cancel", song))[1] for song in songs.values()] == ["stop", "stop"]
    answered = time.monotonic() - begin
    pairs = await asyncio.wait_for(asyncio.gather(*rows), 5)
    await until(lambda: not Counts.running and not Counts.kv_usage)
    took = time.monotonic() - begin
    print(f"answered after {answered:.3f} s, idle after {took:.3f} s")
    assert took < 5
    assert all(row[1] == "abort" for pair in pairs[:3] for row in pair)
    assert pairs[3] == ([], "abort")
    assert all(row[1] == "abort" for pair in pairs[4:] for row in pair)
    assert (await client.control("ask", songs["running"]))[1] == "abort"


async def test_a_client_that_leaves_takes_its_partner_along(client):
    prompt = draw_prompts(5)[0][0][:100]
    pair = uuid.uuid4().hex
    leaving, staying = (
        asyncio.create_task(client.send(prompt, codes_row(role, pair, count=500), max_tokens=501))
        for role in ("conditional", "unconditional")
    )
    await until(lambda: Counts.running)
    leaving.cancel()
    tokens, reason = await asyncio.wait_for(staying, 5)
    assert reason == "abort"
    assert len(tokens) < 500


@pytest.mark.slow
async def test_a_lone_half_ends_after_ten_seconds_and_costs_the_engine_little(client):
    engine = psutil.Process().children(recursive=True)

    def burnt():
        return sum(sum(process.cpu_times()[:2]) for process in engine if process.is_running())

    await asyncio.sleep(1.5)  # vLLM's workers spin for a second after a step
    begin, cpu = time.monotonic(), burnt()
    assert await client.send([1, 2, 3], codes_row("conditional", uuid.uuid4().hex)) == ([], "abort")
    took, cpu = time.monotonic() - begin, burnt() - cpu
    print(f"ended after {took:.2f} s, engine's CPU {100 * cpu / took:.1f} %")
    assert 10 < took < 12
    assert cpu / took < 0.3
