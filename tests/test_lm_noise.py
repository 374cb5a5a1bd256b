"""The LM's noise depends on seed, purpose, position and token alone, and is Gumbel noise."""

import math

import pytest
import torch

from lm_guidance.noise import _draw, draw_gumbel, philox, purpose_key

# Random123's known answers for philox4x32-10 (kat_vectors): counter, key, result.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
PINNED = [1.0208747309278214, 3.8092846565781024, -0.4520161845492091, 1.3739507505668347]


def _words(text: str) -> tuple[torch.Tensor, ...]:
    return tuple(torch.tensor([int(word, 16)] * 33) for word in text.split())


def drawn(seed: int, purpose: str, position: int, tokens: torch.Tensor) -> torch.Tensor:
    return draw_gumbel(torch.tensor([[seed, purpose_key(purpose), position]]), torch.zeros_like(tokens), tokens)


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_philox_gives_the_published_words(counter, key, result):
    for word, expected in zip(philox(_words(counter), _words(key)), _words(result), strict=True):
        torch.testing.assert_close(word, expected, rtol=0, atol=0)


def test_values_are_pinned():
    # A change here changes every plan ever made with a seed.
    assert purpose_key("codes") == 1475452132
    assert drawn(42, "codes", 7, torch.arange(4)).tolist() == pytest.approx(PINNED, rel=1e-14)


def test_a_token_draws_the_same_alone_and_among_others():
    tokens = torch.randperm(217_204, generator=torch.Generator().manual_seed(0))[:5000]
    together = drawn(3, "codes", 11, tokens)
    for index in (0, 1, 4998, 4999):
        assert drawn(3, "codes", 11, tokens[index : index + 1]) == together[index]


def test_rows_of_any_length_draw_as_if_alone_and_on_other_devices_too():
    """`_draw` is what other devices than a CPU run."""
    sizes = [3, 40_000, 1, 0, 20_000, 7]
    rows = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    tokens = torch.randint(217_204, rows.shape, generator=torch.Generator().manual_seed(0))
    keys = torch.tensor([[seed, purpose_key("codes"), 2**32 - 1 - seed] for seed in range(len(sizes))])
    together = draw_gumbel(keys, rows, tokens)
    for row, alone in enumerate(tokens.split(sizes)):
        assert torch.equal(together[rows == row], drawn(row, "codes", 2**32 - 1 - row, alone))
    torch.testing.assert_close(_draw(keys, rows, tokens), together, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("other", [(6, "codes", 9), (5, "metadata", 9), (5, "codes", 10)])
def test_seed_purpose_and_position_give_unrelated_streams(other):
    seed, purpose, position = other
    tokens = torch.arange(64_000)
    a, b = drawn(5, "codes", 9, tokens), drawn(seed, purpose, position, tokens)
    assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 4 / math.sqrt(64_000)


def test_it_is_gumbel_noise():
    x = torch.cat([drawn(2**32 - 1, "codes", position, torch.arange(64_000)) for position in range(10)])
    assert torch.isfinite(x).all()
    n = math.sqrt(x.numel())
    assert abs(x.mean() - 0.5772156649) < 4 * math.pi / math.sqrt(6) / n
    for bound in (-1.0, 0.0, 1.0, 3.0):  # P(x < b) = exp(-exp(-b))
        share = math.exp(-math.exp(-bound))
        assert abs((x < bound).double().mean() - share) < 4 * math.sqrt(share * (1 - share)) / n
