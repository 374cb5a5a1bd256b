"""What is picked: as a plain float64 loop picks it, in the decided order, whoever shares the call."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from lm_guidance.noise import draw_gumbel, purpose_key
from lm_guidance.nucleus import keep_best, keep_nucleus
from lm_guidance.row import Row
from lm_guidance.sampling import Turn, choose
from lm_guidance.spec import Block, Codes, RowSpec, Sample
from tests.lm_vocabularies import grammar_named

API = Sample(temperature=0.85, top_k=0, top_p=0.9, seed=0, purpose="codes")
CAPTION = Block((("caption", None),), 600, 500, True, 500)
KEY = Block((("keyscale", None),), 600, 8, False, 8)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """On a busy machine threads that wait for each other take many times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _row(constraint=None, sample=API, vocabulary="embedded", written=(), role="alone", **spec):
    row = Row(RowSpec("song", role, sample=sample, constraint=constraint, **spec), grammar_named(vocabulary))
    row.follow(written)
    return row


def _logits(rows, std=3.0, seed=0, vocabulary="embedded"):
    size = grammar_named(vocabulary).vocabulary.size
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed)) * std


def _write(vocabulary, text):
    encoded = grammar_named(vocabulary).vocabulary
    return [encoded.think, *encoded.encode(text)]


def reference(conditional, unconditional, row):
    """The contract, token by token and without haste."""
    spec, sample = row.spec, row.spec.sample
    x = conditional.double().numpy().copy()
    for token in set(row.tokens):
        x[token] = x[token] / spec.repetition_penalty if x[token] > 0 else x[token] * spec.repetition_penalty
    if unconditional is not None:
        u = unconditional.double().numpy()
        with np.errstate(invalid="ignore"):
            x = np.where(np.isfinite(x) & np.isfinite(u), u + spec.cfg_scale * (x - u), -np.inf)
    allowed = row.allowed if isinstance(row.allowed, range) else row.allowed.on(torch.device("cpu")).numpy()
    masked = np.full_like(x, -np.inf)
    masked[np.asarray(allowed)] = x[np.asarray(allowed)]
    if sample.temperature == 0:
        return int(masked.argmax())
    x = masked / sample.temperature
    order = np.argsort(-x, kind="stable")
    order = order[np.isfinite(x[order])]
    if sample.top_k:
        order = order[: sample.top_k]
    if sample.top_p < 1:
        p = np.exp(x[order] - x[order[0]])
        p /= p.sum()
        order = order[np.cumsum(p) - p < sample.top_p]
    tokens = torch.from_numpy(order.copy())
    keys = torch.tensor([[sample.seed, purpose_key(sample.purpose), len(row.tokens)]])
    return int(order[np.argmax(x[order] + draw_gumbel(keys, torch.zeros_like(tokens), tokens).numpy())])


SAMPLES = [
    API,
    replace(API, top_k=50),
    replace(API, top_k=3, top_p=0.5),
    replace(API, top_p=1.0),
    replace(API, temperature=0.1, top_p=0.99),
    replace(API, temperature=2.0, top_p=0.999999),
    replace(API, temperature=1e-6, top_p=1.0),
    replace(API, top_p=1e-9),
    replace(API, temperature=0.0, top_k=7, top_p=0.3),
]


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize("penalty", [1.0, 1.3, 0.7])
def test_it_picks_as_the_plain_loop_does(sample, guided, penalty):
    codes = grammar_named("embedded").vocabulary.codes
    pair = {"role": "conditional", "pair": "p", "cfg_scale": 2.5} if guided else {}
    for seed in range(2):
        logits = _logits(2, seed=seed)
        likely = logits[0, codes.start : codes.stop].topk(40).indices + codes.start
        for constraint, written in [
            (Codes(100), likely.tolist()), (None, likely.tolist()), (KEY, _write("embedded", "\nkeyscale:")),
            (CAPTION, _write("embedded", "\ncaption: A calm piano")),
        ]:  # fmt: skip
            row = _row(constraint, replace(sample, seed=seed), written=written, repetition_penalty=penalty, **pair)
            turn = Turn(row, conditional=0, unconditional=1 if guided else None)
            expected = reference(logits[0], logits[1] if guided else None, row)
            assert choose(logits, [turn]).tolist() == [expected]


def test_a_turn_does_not_notice_the_others():
    embedded = grammar_named("embedded").vocabulary
    generator = torch.Generator().manual_seed(1)
    logits = _logits(60)
    turns = []
    for index in range(30):
        sample = replace(SAMPLES[index % len(SAMPLES)], seed=index)
        constraint, written = [
            (Codes(100), list(embedded.codes[: index % 7])),
            (None, list(range(index))),
            (KEY, _write("embedded", "\nkeyscale:")),
            (CAPTION, _write("embedded", "\ncaption: A")),
            (CAPTION, _write("embedded", "\ncaption: A calm piano.\n")),
        ][index % 5]
        guided = index % 3 != 0
        pair = {"role": "conditional", "pair": str(index), "cfg_scale": 1 + index / 10} if guided else {}
        row = _row(constraint, sample, written=written, repetition_penalty=1 + index % 2 / 4, **pair)
        turns.append(Turn(row, 2 * index, 2 * index + 1 if guided else None))
    together = choose(logits, turns).tolist()
    assert together == [int(choose(logits, [turn])) for turn in turns]
    for _ in range(3):
        rows, order = torch.randperm(60, generator=generator), torch.randperm(30, generator=generator)[:11].tolist()
        place = {int(old): new for new, old in enumerate(rows)}
        moved = [
            Turn(t.row, place[t.conditional], None if t.unconditional is None else place[t.unconditional])
            for t in (turns[index] for index in order)
        ]
        assert choose(logits[rows], moved).tolist() == [together[index] for index in order]


def _support(logits, count=400, **spec):
    """Which tokens are ever picked, over many seeds."""
    sample = spec.pop("sample", API)
    guided = len(logits) > 1
    pair = {"role": "conditional", "pair": "p", "cfg_scale": 2.0} | spec if guided else spec
    rows = [_row(sample=replace(sample, seed=seed), vocabulary="bpe-0", **pair) for seed in range(count)]
    return set(choose(logits, [Turn(row, 0, 1 if guided else None) for row in rows]).tolist())


def _sparse(*rows):
    """Logits of the unconstrained small vocabulary: -inf but for the tokens given."""
    logits = torch.full((len(rows), grammar_named("bpe-0").vocabulary.size), -math.inf)
    for row, values in enumerate(rows):
        for token, value in values.items():
            logits[row, token] = value
    return logits


FREE = Sample(temperature=1.0, top_k=0, top_p=1.0, seed=0, purpose="codes")
GREEDY = replace(FREE, temperature=0.0)


def test_the_penalty_comes_before_guidance_and_on_the_conditional_row_alone():
    # Penalised first: 4/2 guided to 2 + (2 - 2) = 2 against 3. After guidance it would be 6/2, a draw won by token 7;
    # on both rows 2 + 1 = 3.
    logits = _sparse({7: 4.0, 8: 3.0}, {7: 2.0, 8: 3.0})
    assert _support(logits, 1, sample=GREEDY, written=[7], repetition_penalty=2.0) == {8}
    # Negative logits are multiplied, and a token counts once.
    logits = _sparse({7: -1.0, 8: -1.9, 9: -2.1})
    assert _support(logits, 1, sample=GREEDY, written=[7, 7, 7], repetition_penalty=2.0) == {8}


def test_what_is_impossible_in_one_row_stays_impossible():
    logits = _sparse({7: 1.0, 8: 9.0, 9: -math.inf, 10: 0.0}, {7: 0.0, 8: -math.inf, 9: 5.0, 10: -math.inf})
    for scale in (0.0, 0.5, 1.0, 2.0, 10.0):
        assert _support(logits, 50, sample=FREE, cfg_scale=scale) == {7}
        assert _support(logits, 1, sample=GREEDY, cfg_scale=scale) == {7}


def test_where_nothing_is_possible_the_first_allowed_token_is_picked():
    codes = grammar_named("bpe-0").vocabulary.codes
    logits = _sparse({3: 1.0}, {3: 1.0})
    for sample in (FREE, GREEDY, API, replace(API, top_k=5)):
        row = _row(Codes(5), sample, "bpe-0", role="conditional", pair="p", cfg_scale=2.0)
        assert choose(logits, [Turn(row, 0, 1)]).tolist() == [codes.start]


def test_broken_logits_give_an_allowed_token():
    codes = grammar_named("bpe-0").vocabulary.codes
    for value in (math.nan, math.inf):
        logits = torch.full((2, grammar_named("bpe-0").vocabulary.size), value)
        for sample in (FREE, GREEDY, API, replace(API, top_k=5)):
            row = _row(Codes(5), sample, "bpe-0", role="conditional", pair="p", cfg_scale=2.0)
            assert int(choose(logits, [Turn(row, 0, 1)])) in codes


def test_the_mask_comes_before_top_k_and_top_p():
    # Tokens 7 and 8 lead by far, but are no codes.
    start = grammar_named("bpe-0").vocabulary.codes.start
    logits = _sparse({7: 50.0, 8: 50.0, start + 1: 1.0, start + 2: 1.0, start + 3: 0.0})
    for sample in (replace(FREE, top_k=2), replace(FREE, top_p=0.7)):
        assert _support(logits, sample=sample, constraint=Codes(9)) == {start + 1, start + 2}


def test_temperature_comes_before_top_p():
    # At temperature 1 the first token has 0.73 of it all, at 2 it has 0.62.
    logits = _sparse({7: 1.0, 8: 0.0})
    assert _support(logits, sample=replace(FREE, top_p=0.7)) == {7}
    assert _support(logits, sample=replace(FREE, top_p=0.7, temperature=2.0)) == {7, 8}


def test_top_k_comes_before_top_p():
    # Of all ten equal tokens three make 0.3; of the best four, two make 0.5, one 0.25.
    logits = _sparse(dict.fromkeys(range(10), 1.0))
    assert _support(logits, sample=replace(FREE, top_p=0.3)) == {0, 1, 2}
    assert _support(logits, sample=replace(FREE, top_p=0.3, top_k=4)) == {0, 1}
    assert _support(logits, sample=replace(FREE, top_k=4)) == {0, 1, 2, 3}


def test_top_p_keeps_the_token_that_reaches_it():
    logits = _sparse({5: math.log(0.5), 6: math.log(0.3), 7: math.log(0.2)})
    for top_p, expected in [(0.49, {5}), (0.51, {5, 6}), (0.79, {5, 6}), (0.81, {5, 6, 7}), (1.0, {5, 6, 7})]:
        assert _support(logits, sample=replace(FREE, top_p=top_p)) == expected


def test_equal_logits_are_led_by_the_lower_token():
    logits = _sparse({9: 2.0, 4: 2.0, 200: 2.0, 30: 1.0})
    assert _support(logits, sample=replace(FREE, top_k=2)) == {4, 9}
    assert _support(logits, sample=replace(FREE, top_p=0.4)) == {4, 9}
    assert _support(logits, 1, sample=GREEDY) == {4}


def test_top_k_above_the_number_of_tokens_is_off():
    assert _support(_sparse({5: 0.0, 6: 0.0}), sample=replace(FREE, top_k=10**6)) == {5, 6}


def test_tokens_are_as_frequent_as_they_are_probable():
    shares = {5: 0.5, 6: 0.3, 7: 0.15, 8: 0.05}
    logits = _sparse({token: math.log(share) for token, share in shares.items()})
    count = 20_000
    rows = [_row(sample=replace(FREE, seed=seed), vocabulary="bpe-0") for seed in range(count)]
    picked = torch.bincount(choose(logits, [Turn(row, 0) for row in rows]), minlength=9)
    for token, share in shares.items():
        assert abs(picked[token] / count - share) < 4 * math.sqrt(share * (1 - share) / count)


def test_seed_purpose_and_position_decide():
    logits = _logits(1, std=1.0, vocabulary="bpe-0")

    def picks(written=(), **changed):
        samples = [replace(FREE, **({"seed": seed} | changed)) for seed in range(50)]
        rows = [_row(sample=sample, vocabulary="bpe-0", written=written) for sample in samples]
        return choose(logits, [Turn(row, 0) for row in rows]).tolist()

    assert picks() == picks()
    assert len(set(picks())) > 10
    assert len(set(picks(seed=3))) == 1
    assert picks() != picks(purpose="metadata")
    assert picks() != picks(written=[0])


def test_what_is_forced_is_not_looked_at():
    vocabulary = grammar_named("bpe-0").vocabulary
    logits = torch.full((2, vocabulary.size), math.nan)
    row, done = _row(KEY, vocabulary="bpe-0"), _row(Codes(1), vocabulary="bpe-0", written=[vocabulary.codes[7]])
    assert choose(logits, [Turn(row, 0, 1), Turn(done, 1)]).tolist() == [vocabulary.think, vocabulary.eos]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_logits_of_any_type_and_padding_stay_as_they_are(dtype):
    vocabulary = grammar_named("embedded").vocabulary
    logits = torch.cat([_logits(2).to(dtype), torch.full((2, 99), 1000.0, dtype=dtype)], 1)
    before = logits.clone()
    for constraint in (Codes(9), None):
        row = _row(constraint, role="conditional", pair="p", cfg_scale=2.5, written=[vocabulary.codes[0]])
        token = int(choose(logits, [Turn(row, 0, 1)]))
        assert token == reference(logits[0, : vocabulary.size], logits[1, : vocabulary.size], row)
    assert torch.equal(logits, before)


def test_no_turns_no_tokens():
    assert choose(_logits(1, vocabulary="bpe-0"), []).tolist() == []


def _distributions():
    generator = torch.Generator().manual_seed(5)
    draw = lambda std: torch.randn(5000, generator=generator, dtype=torch.float64) * std  # noqa: E731
    yield from (draw(std) for std in (0.0, 1e-5, 0.1, 1.0, 3.0, 10.0, 100.0))
    yield draw(3.0).round()  # many ties
    yield draw(2.0).bfloat16().double()
    peak = draw(1.0)
    peak[77] = 60.0
    yield peak
    yield torch.where(draw(1.0) > 1, draw(2.0), -math.inf)


def test_the_leading_tokens_are_those_of_a_full_sort():
    scores = torch.stack([x - x.max() for x in _distributions()])
    order = torch.sort(scores, dim=1, descending=True, stable=True).indices
    weights = (scores.exp() * 2.0**44).long().gather(1, order)
    before = weights.cumsum(1) - weights
    for share in (1e-12, 0.1, 0.5, 0.9, 0.999, 0.9999999):
        shares = torch.full((len(scores),), share, dtype=torch.float64)
        expected = torch.zeros_like(scores, dtype=torch.bool)
        expected.scatter_(1, order, before < (weights.sum(1) * shares)[:, None])
        assert torch.equal(keep_nucleus(scores, shares), expected)
    for count in (1, 2, 40, 4999, 5000, 6000):
        expected = torch.zeros_like(scores, dtype=torch.bool)
        expected.scatter_(1, order[:, :count], True)
        assert torch.equal(keep_best(scores, torch.full((len(scores),), count)), expected)
