"""Guided pairs in vLLM's batch: they start whole, stay in step, and no client is left waiting.

vLLM's real scheduler, with our rules, is stepped by hand; a model that answers every row with one token stands in for
vLLM's runner. The engine as a whole is proved in test_guided_rows.py.
"""

import json
import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from tests.vllm_rows import engine_arguments, row_spec, vllm_environment

MODEL_LEN = 512
BLOCK = 128
TOKEN = 7
CONFIG = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 64, "intermediate_size": 64,
    "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 64, "vocab_size": 1000,
    "max_position_embeddings": 4096, "eos_token_id": 1,
}  # fmt: skip


class Clock:
    """Time that passes by sleeping alone; `now` in seconds."""

    now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("lm_guidance.scheduler.time", clock)
    return clock


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    with vllm_environment():
        yield folder


def make_scheduler(model, blocks=1000, **arguments):
    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
    from vllm.v1.structured_output import StructuredOutputManager

    arguments = engine_arguments(MODEL_LEN, model=str(model), skip_tokenizer_init=True, **arguments)
    config = EngineArgs(**arguments).create_engine_config()
    config.cache_config.num_gpu_blocks = blocks
    attention = FullAttentionSpec(block_size=BLOCK, num_kv_heads=1, head_size=64, dtype=torch.float32)
    return config.scheduler_config.get_scheduler_cls()(
        vllm_config=config,
        kv_cache_config=KVCacheConfig(blocks, [], [KVCacheGroupSpec(["layer"], attention)]),
        structured_output_manager=StructuredOutputManager(config),
        block_size=BLOCK,
        log_stats=True,
    )


@dataclass
class Engine:
    """The engine's loop around a scheduler: what each client was sent, which rows ran in which step."""

    scheduler: Any
    clock: Clock
    steps: list[set[str]] = field(default_factory=list)
    prompts: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    ends: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    stats: Any = None

    def add(self, name, extra=None, prompt=20, max_tokens=5):
        from vllm import SamplingParams
        from vllm.utils.hashing import sha256
        from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
        from vllm.v1.request import Request

        init_none_hash(sha256)
        hasher = get_request_block_hasher(BLOCK, sha256)
        params = SamplingParams(temperature=0, max_tokens=max_tokens, extra_args=extra and {"acestep": extra})
        start = 600 * (len(self.prompts) % 50)  # some share their beginnings in the prefix cache
        self.prompts[name] = prompt
        self.scheduler.add_request(Request(name, list(range(start, start + prompt)), params, None, block_hasher=hasher))

    def add_pair(self, name, prompts=(20, 10), song="song", max_tokens=5, **changes):
        for role, prompt in zip(("conditional", "unconditional"), prompts, strict=True):
            self.add(f"{name} {role}", row_spec(role, song, name, **changes), prompt, max_tokens)

    def abort(self, *names):
        from vllm.v1.request import RequestStatus

        self.scheduler.finish_requests(names, RequestStatus.FINISHED_ABORTED)

    def step(self):
        """As vLLM's EngineCore.step() and the millisecond of sleep after a step without rows."""
        rows = self.run_batch() if self.scheduler.has_requests() else {}
        if not rows:
            self.clock.sleep(0.001)

    def run_batch(self):
        from vllm.v1.outputs import ModelRunnerOutput

        scheduled = self.scheduler.schedule()
        rows = scheduled.num_scheduled_tokens
        for new in scheduled.scheduled_new_reqs:
            assert rows[new.req_id] + new.num_computed_tokens == self.prompts[new.req_id], "a prompt was split"
        assert not scheduled.scheduled_cached_reqs.resumed_req_ids, "a row was preempted"
        self.steps.append(set(rows))
        names = list(rows)
        answer = ModelRunnerOutput(names, {name: i for i, name in enumerate(names)}, [[TOKEN] for _ in names])
        for sent in self.scheduler.update_from_output(scheduled, answer).values():
            self.stats = sent.scheduler_stats or self.stats
            for output in sent.outputs:
                self.tokens[output.request_id] += len(output.new_token_ids)
                if output.finish_reason is not None:
                    self.ends[output.request_id].append(str(output.finish_reason))
        return rows

    def run(self, steps=20_000):
        """Steps as vLLM does: as long as there are requests."""
        while self.scheduler.has_requests() and steps:
            self.step()
            steps -= 1

    def is_idle(self):
        pool = self.scheduler.kv_cache_manager.block_pool
        return (
            not self.scheduler.has_requests()
            and self.scheduler.get_request_counts() == (0, 0)
            and pool.get_num_free_blocks() == pool.num_gpu_blocks - 1
            and (self.stats is None or (self.stats.num_running_reqs, self.stats.kv_cache_usage) == (0, 0))
        )


@pytest.fixture
def engine(model, clock):
    return Engine(make_scheduler(model), clock)


def in_step(engine, name):
    """In how many steps the halves ran, each time both."""
    halves = {f"{name} conditional", f"{name} unconditional"}
    together = [halves <= step for step in engine.steps if halves & step]
    assert all(together)
    return len(together)


def test_any_crowd_of_pairs_stays_in_step_and_runs_to_its_end(model, clock):
    draw = random.Random(0)
    for blocks, seats in ((9, 2), (17, 16), (40, 7), (1000, 16)):
        engine = Engine(make_scheduler(model, blocks, max_num_seqs=seats), clock)
        lengths = {f"p{i}": draw.randint(1, 60) for i in range(40)}
        halves = []
        for name, length in lengths.items():
            prompts = [draw.randint(1, MODEL_LEN - length) for _ in range(2)]
            halves.append([
                (f"{name} {role}", row_spec(role, pair=name), prompt, length)
                for role, prompt in zip(("conditional", "unconditional"), prompts, strict=True)
            ])  # fmt: skip
        late = []
        for pair in halves:
            draw.shuffle(pair)
            engine.add(*pair[0])
            late.append(pair[1])
            if draw.random() < 0.7:
                engine.run(draw.randint(0, 3))
            while late and draw.random() < 0.6:
                engine.add(*late.pop(draw.randrange(len(late))))
        for half in late:
            engine.add(*half)
        engine.run()
        assert {name: in_step(engine, name) for name in lengths} == lengths
        assert list(engine.ends.values()) == 80 * [["length"]]
        assert engine.is_idle()


def test_first_come_first_served_also_for_requests_that_are_none_of_ours(model, clock):
    engine = Engine(make_scheduler(model, max_num_seqs=3), clock)
    engine.add_pair("first")
    engine.add_pair("second")
    engine.add("alone", row_spec("alone"))
    engine.add("plain")
    engine.run()
    starts = [next(i for i, step in enumerate(engine.steps) if f"{name}" in step)
              for name in ("first conditional", "second conditional", "alone", "plain")]  # fmt: skip
    assert starts == sorted(starts)
    assert set(engine.tokens.values()) == {5}


def test_a_cancel_ends_every_row_of_its_song_in_any_state(model, clock):
    engine = Engine(make_scheduler(model, max_num_seqs=4), clock)
    engine.add_pair("running", song="mine")
    engine.add_pair("neighbour", song="other")
    engine.run(2)
    engine.add_pair("waiting", song="mine")
    engine.add("alone", row_spec("alone", "mine"))
    engine.add("parked conditional", row_spec("conditional", "mine", "parked"))
    mine = ["running conditional", "running unconditional", "waiting conditional", "waiting unconditional", "alone",
            "parked conditional"]  # fmt: skip
    engine.add("cancel", row_spec("cancel", "mine"))
    engine.run(1)
    assert {name: engine.ends[name] for name in mine} == {name: ["abort"] for name in mine}
    assert engine.ends["cancel"] == ["stop"]
    engine.run()
    assert in_step(engine, "neighbour") == 5
    assert engine.is_idle()


def test_a_cancel_in_an_engine_with_one_song_leaves_it_idle_at_the_next_step(engine):
    engine.add_pair("a", max_tokens=400)
    engine.run(3)
    engine.add("cancel", row_spec("cancel"))
    engine.run(2)
    assert engine.is_idle()


def test_a_cancel_may_overtake_the_rows_that_it_is_meant_for(engine):
    engine.add("cancel", row_spec("cancel"))
    engine.run()
    engine.add_pair("late")
    engine.run()
    assert engine.ends["late conditional"] == engine.ends["late unconditional"] == ["abort"]
    assert engine.steps[-1] == set()


def test_a_song_can_be_asked_after_in_any_state(engine):
    engine.add("unknown", row_spec("ask"))
    engine.run()
    assert engine.ends["unknown"] == ["abort"]
    engine.add("a conditional", row_spec("conditional", pair="a"))
    engine.add("parked", row_spec("ask"))
    engine.run(1)
    engine.add("a unconditional", row_spec("unconditional", pair="a"))
    engine.add("waiting", row_spec("ask"))
    engine.run(1)
    engine.add("running", row_spec("ask"))
    engine.run()
    assert engine.ends["parked"] == engine.ends["waiting"] == engine.ends["running"] == ["stop"]
    engine.add("over", row_spec("ask"))
    engine.run()
    assert engine.ends["over"] == ["abort"]
    assert engine.tokens["over"] == 0


@pytest.mark.parametrize("steps", [0, 2])
def test_a_partner_of_an_aborted_half_ends_and_is_told(model, clock, steps):
    engine = Engine(make_scheduler(model), clock)
    engine.add_pair("a")
    engine.run(steps)
    engine.abort("a unconditional")
    engine.run()
    assert engine.ends == {"a conditional": ["abort"]}
    assert engine.is_idle()


def test_a_half_whose_partner_left_before_it_came_does_not_wait(engine):
    engine.add("a conditional", row_spec("conditional", pair="a"))
    engine.run(1)
    engine.abort("a conditional")
    engine.run()
    assert engine.is_idle()
    engine.add("a unconditional", row_spec("unconditional", pair="a"))
    engine.run(2)
    assert engine.ends == {"a unconditional": ["error"]}


def test_a_lone_half_waits_for_ten_seconds_and_few_empty_batches_are_run_meanwhile(engine, clock):
    """Of vLLM's loop, which would make one every millisecond, only the scheduler's own rests keep them few."""
    engine.add("a conditional", row_spec("conditional", pair="a"))
    engine.run()
    assert engine.ends == {"a conditional": ["abort"]}
    assert 10 < clock.now < 10.01
    assert len(engine.steps) < 100
    assert engine.is_idle()


@pytest.mark.parametrize("gap", [0.002, 0.1, 3.0])
def test_a_partner_that_comes_late_waits_for_a_quarter_of_that_time_at_most(engine, clock, gap):
    engine.add("a conditional", row_spec("conditional", pair="a"))
    while clock.now < gap:
        engine.step()
    assert clock.now - gap <= min(gap / 4, 0.25) + 0.002
    engine.add("a unconditional", row_spec("unconditional", pair="a"))
    engine.run()
    assert in_step(engine, "a") == 5


def test_nobody_rests_while_rows_run(engine, clock):
    engine.add_pair("a", max_tokens=50)
    engine.add("b conditional", row_spec("conditional", pair="b"))
    engine.run(50)
    assert in_step(engine, "a") == 50
    assert clock.now == 0


def test_who_asks_makes_no_difference(engine):
    """Control flow that depends on a caller's name breaks when vLLM renames one."""
    def step_of_an_other_name():
        return engine.scheduler.has_requests()

    engine.add("a conditional", row_spec("conditional", pair="a"))
    assert step_of_an_other_name() is engine.scheduler.has_requests() is True


def test_a_pair_id_is_good_for_one_pair(engine):
    engine.add_pair("a")
    engine.add("third", row_spec("conditional", pair="a"))
    engine.run()
    engine.add("fourth", row_spec("unconditional", pair="a"))
    engine.run()
    assert in_step(engine, "a") == 5
    assert engine.ends["third"] == engine.ends["fourth"] == ["error"]
    assert engine.is_idle()


@pytest.mark.parametrize("other", [{"max_tokens": 6}, {"role": "conditional"}, {"cfg_scale": 3.0}, {"song": "other"},
                                   {"constraint": {"codes": 3}}])  # fmt: skip
def test_halves_that_disagree_are_refused(engine, other):
    engine.add("a conditional", row_spec("conditional", pair="a"))
    max_tokens = other.pop("max_tokens", 5)
    engine.add("b", row_spec(**({"role": "unconditional", "pair": "a"} | other)), max_tokens=max_tokens)
    engine.run()
    assert engine.ends == {"a conditional": ["error"], "b": ["error"]}
    assert engine.steps == [set()]


def test_a_row_that_cannot_end_within_the_model_is_refused_on_arrival(engine):
    engine.add_pair("a", prompts=(MODEL_LEN - 4, 10))
    engine.add("alone", row_spec("alone"), MODEL_LEN - 4)
    engine.run(1)
    assert engine.ends["a conditional"] == engine.ends["alone"] == ["error"]


@pytest.mark.parametrize(("arguments", "named"), [
    ({"blocks": 8}, "KV cache: 7 blocks of 128 tokens, at least 8"),
    ({"max_num_seqs": 1}, "max_num_seqs: 1, at least 2"),
    ({"max_num_batched_tokens": 1023}, "max_num_batched_tokens: 1023, at least 1024"),
    ({"long_prefill_token_threshold": 64}, "long_prefill_token_threshold"),
    ({"scheduling_policy": "priority"}, "scheduling_policy"),
    ({"watermark": 0.1}, "watermark"),
    ({"logits_processors": []}, "GuidedSampler"),
])  # fmt: skip
def test_an_engine_that_cannot_hold_a_pair_does_not_start(model, arguments, named):
    with pytest.raises(ValueError, match=named) as refusal:
        make_scheduler(model, **arguments)
    assert "\n" not in str(refusal.value)
