"""Music-like material without a recording: what an encoder finds easy and hard about music, the same every time.

Synthesised, because the repository holds no real music: chords, bass and plucked notes of decaying partials, kick,
snare and hats of noise. Its figures stand between those of noise, the worst for an encoder, and of a lone instrument.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from frontend.audio.pcm import SAMPLE_RATE

Floats = npt.NDArray[np.float32]
_BEAT = 60 / 112
_CHORDS = ((57, 60, 64), (53, 57, 60), (48, 55, 64), (55, 59, 62))


def music(seconds: float) -> Floats:
    """float32 [n, 2] with a peak of 1."""
    rng = np.random.default_rng(0)
    out = np.zeros((round(seconds * SAMPLE_RATE), 2), np.float32)
    for beat in range(int(seconds / _BEAT) + 1):
        chord = _CHORDS[beat // 4 % 4]
        at = beat * _BEAT
        if beat % 4 == 0:
            for note in chord:
                _add(out, at, 0.15 * _tone(note, 4 * _BEAT, 20, 0.2), rng.random())
        _add(out, at, 0.5 * _tone(chord[0] - 24, _BEAT, 12, 1.0), 0.5)
        _add(out, at, _snare(rng) if beat % 2 else _kick(), 0.5)
        for half in (at, at + _BEAT / 2):
            _add(out, half, _hat(rng), 0.7)
            _add(out, half, 0.2 * _tone(chord[rng.integers(3)] + 12, 1.5, 16, 0.6), rng.random())
    return _floats(out / np.abs(out).max())


def _add(out: Floats, at: float, wave: Floats, pan: float) -> None:
    begin = round(at * SAMPLE_RATE)
    end = min(len(out), begin + len(wave))
    sides = np.array([np.cos(pan * np.pi / 2), np.sin(pan * np.pi / 2)], np.float32)
    out[begin:end] += wave[: max(0, end - begin), None] * sides


def _times(seconds: float) -> Floats:
    return np.arange(round(seconds * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE


def _floats(wave: npt.NDArray[Any]) -> Floats:
    return wave.astype(np.float32)


def _tone(midi: int, seconds: float, partials: int, damping: float) -> Floats:
    """Slightly stretched partials, the higher ones die sooner."""
    pitch = 440 * 2 ** ((midi - 69) / 12)
    t = _times(seconds)
    wave = np.zeros_like(t)
    for k in range(1, partials + 1):
        if (hertz := pitch * k * (1 + 2e-4 * k * k)) < 18_000:
            wave += np.sin(2 * np.pi * hertz * t + k) * np.exp(-t * (1.5 + damping * k)) / k**1.1
    return _floats(wave * np.minimum(1, t * 200))


def _kick() -> Floats:
    t = _times(0.25)
    return _floats(0.8 * np.sin(2 * np.pi * (45 * t + 8 * (1 - np.exp(-t * 30)))) * np.exp(-t * 14))


def _snare(rng: np.random.Generator) -> Floats:
    t = _times(0.25)
    return _floats(0.4 * rng.standard_normal(len(t)) * np.exp(-t * 22))


def _hat(rng: np.random.Generator) -> Floats:
    t = _times(0.06)
    return _floats(0.15 * np.diff(rng.standard_normal(len(t) + 1)) * np.exp(-t * 96))
