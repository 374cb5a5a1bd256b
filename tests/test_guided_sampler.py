"""The logits processor by itself: the same picks through the interfaces of both of vLLM's model runners."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from export import tiny_lm
from lm_guidance.vocabulary import Vocabulary
from tests.vllm_rows import GREEDY, engine_arguments, row_spec, vllm_environment

PROMPT = 30  # tokens of every prompt
SAMPLE = GREEDY | {"temperature": 0.9, "top_p": 0.9}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm") / "lm"
    tiny_lm.write(folder)
    return folder


@pytest.fixture(scope="module")
def vocabulary(checkpoint):
    return Vocabulary.load(checkpoint / "tokenizer.json")


@pytest.fixture(scope="module")
def config(checkpoint):
    with vllm_environment():
        from vllm.engine.arg_utils import EngineArgs

        yield EngineArgs(**engine_arguments(512, model=str(checkpoint))).create_engine_config()


def parameters(spec, **others):
    from vllm import SamplingParams

    return SamplingParams(**{"temperature": 0, "extra_args": {"acestep": spec} if spec else None} | others)


class RunnerV1:
    """Rows sit in a batch without gaps; the last one fills a place that falls free."""

    def __init__(self, config):
        from lm_guidance.processor import GuidedSampler

        self.processor = GuidedSampler(config, torch.device("cpu"), False)
        self.names, self.completions = [], {}

    def add(self, name, spec):
        self.completions[name] = []
        self.names.append(name)
        self._update(added=[(len(self.names) - 1, parameters(spec), [0] * PROMPT, self.completions[name])])

    def remove(self, name):
        from vllm.v1.sample.logits_processor.interface import MoveDirectionality

        place, last = self.names.index(name), len(self.names) - 1
        moved = [(last, place, MoveDirectionality.UNIDIRECTIONAL)] if place != last else []
        self.names[place] = self.names[last]
        del self.names[last]
        self._update(removed=[place], moved=moved)

    def _update(self, added=(), removed=(), moved=()):
        from vllm.v1.sample.logits_processor import BatchUpdate

        self.processor.update_state(BatchUpdate(len(self.names), removed, added, moved))

    def step(self, logits):
        """`logits` by name; what became of them, by name."""
        result = self.processor.apply(torch.stack([logits[name] for name in self.names]))
        for name, row in zip(self.names, result, strict=True):
            self.completions[name].append(int(row.argmax()))
        return dict(zip(self.names, result, strict=True))


class RunnerV2:
    """Requests sit in slots that are used again; the batch's order changes from step to step."""

    def __init__(self, config):
        from lm_guidance.processor import GuidedSampler

        self.processor = GuidedSampler(config, SimpleNamespace())
        self.slots, self.free, self.steps = {}, [5, 2, 7, 0, 3, 1, 4, 6], 0

    def add(self, name, spec):
        self.slots[name] = self.free.pop()
        assert self.processor.add_request(self.slots[name], parameters(spec)) == bool(spec)

    def remove(self, name):
        self.free.append(self.slots.pop(name))

    def step(self, logits):
        self.steps += 1
        names = sorted(self.slots, key=lambda name: hash((name, self.steps)))
        context = SimpleNamespace(idx_mapping_np=np.array([self.slots[name] for name in names]))
        result = self.processor.apply(torch.stack([logits[name] for name in names]), context)
        return dict(zip(names, result, strict=True))


def draw_logits(vocabulary, names, seed):
    generator = torch.Generator().manual_seed(seed)
    return {name: 4 * torch.randn(vocabulary.size + 7, generator=generator) for name in names}


def token_of(row):
    """The one token that a row leaves."""
    assert torch.isneginf(row).sum() == len(row) - 1
    return int(row.argmax())


ROWS = {
    "a conditional": row_spec("conditional", pair="a", constraint={"codes": 3}),
    "plain": None,
    "a unconditional": row_spec("unconditional", pair="a", constraint={"codes": 3}),
    "alone": row_spec("alone", sample=SAMPLE),
    "b unconditional": row_spec("unconditional", pair="b", sample=SAMPLE),
    "b conditional": row_spec("conditional", pair="b", sample=SAMPLE),
}


def test_both_runners_pick_the_same_and_leave_other_requests_alone(config, vocabulary):
    runners: list[RunnerV1 | RunnerV2] = [RunnerV1(config), RunnerV2(config)]
    for runner in runners:
        for name, spec in ROWS.items():
            runner.add(name, spec)
    picks = []
    for step in range(4):
        logits = draw_logits(vocabulary, ROWS, step)
        results = [runner.step(logits) for runner in runners]
        for name in ROWS:
            assert torch.equal(results[0][name], results[1][name])
        assert torch.equal(results[0]["plain"], logits["plain"])
        assert token_of(results[0]["a conditional"]) == token_of(results[0]["a unconditional"])
        assert token_of(results[0]["b conditional"]) == token_of(results[0]["b unconditional"])
        picks.append({name: token_of(results[0][name]) for name in ROWS if name != "plain"})
        if step == 1:  # a request that ends makes place for a new one
            for runner in runners:
                runner.remove("plain")
                runner.add("plain", None)
    codes = [pick["a conditional"] for pick in picks]
    assert all(code in vocabulary.codes for code in codes[:3])
    assert codes[3] == vocabulary.eos
    assert len({pick["b conditional"] for pick in picks}) == 4


def test_greedy_guidance_is_the_formula(config, vocabulary):
    runner = RunnerV1(config)
    for role in ("conditional", "unconditional"):
        runner.add(role, row_spec(role, constraint={"codes": 3}))
    logits = draw_logits(vocabulary, ("conditional", "unconditional"), 1)
    c, u = (logits[role][vocabulary.codes.start : vocabulary.codes.stop] for role in ("conditional", "unconditional"))
    best = int((u + 2.5 * (c - u)).argmax())
    assert token_of(runner.step(logits)["conditional"]) == vocabulary.codes.start + best


@pytest.mark.parametrize("runner", [RunnerV1, RunnerV2])
@pytest.mark.parametrize("left", ["b conditional", "b unconditional"])
def test_a_half_whose_partner_is_gone_ends(config, vocabulary, runner, left):
    runner = runner(config)
    for name, spec in ROWS.items():
        runner.add(name, spec)
    runner.step(draw_logits(vocabulary, ROWS, 0))
    runner.remove({"b conditional", "b unconditional"}.difference([left]).pop())
    result = runner.step(draw_logits(vocabulary, ROWS, 1))
    assert token_of(result[left]) == vocabulary.eos
    assert token_of(result["a conditional"]) in vocabulary.codes


@pytest.mark.parametrize(("others", "message"), [
    ({"temperature": 0.5}, "temperature: must be 0"),
    ({"stop": ["a"]}, "stop: not together"),
    ({"stop_token_ids": [1]}, "stop_token_ids: not together"),
    ({"ignore_eos": True}, "ignore_eos: not together"),
    ({"min_tokens": 1}, "min_tokens: not together"),
    ({"logit_bias": {1: 1.0}}, "logit_bias: not together"),
    ({"allowed_token_ids": [1]}, "allowed_token_ids: not together"),
    ({"bad_words": ["a"]}, "bad_words: not together"),
])  # fmt: skip
def test_parameters_that_could_part_a_pair_are_refused(config, others, message):
    from lm_guidance.processor import GuidedSampler

    spec = row_spec("alone")
    GuidedSampler.validate_params(parameters(spec))
    GuidedSampler.validate_params(parameters(None, temperature=1.0, stop=["a"]))
    GuidedSampler.validate_params(parameters(row_spec("cancel"), temperature=1.0))
    with pytest.raises(ValueError, match=message):
        GuidedSampler.validate_params(parameters(spec, **others))


def test_the_sampler_does_not_start_with_another_scheduler(checkpoint):
    with vllm_environment():
        from vllm.engine.arg_utils import EngineArgs

        arguments = engine_arguments(512, model=str(checkpoint), scheduler_cls=None)
        with pytest.raises(ValueError, match="scheduler_cls"):
            RunnerV1(EngineArgs(**arguments).create_engine_config())
