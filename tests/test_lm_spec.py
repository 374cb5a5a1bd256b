"""What a request may ask of its completion: read whole, or refused with one line that names the key."""

import copy
import re
from dataclasses import replace

import pytest

from lm_guidance.spec import Block, Codes, RowSpec, Sample, parse

SAMPLE = {"temperature": 0.85, "top_k": 0, "top_p": 0.9, "seed": 2**32 - 1, "purpose": "codes"}
BLOCK = {
    "fields": [["bpm", None], ["caption", None], ["duration", "30"], ["keyscale", "C♯ major"]],
    "duration_max": 600, "caption_max": 512, "then": "text", "text_max": 2048,
}  # fmt: skip
PAIRED = {
    "song": "s", "role": "conditional", "pair": "p", "cfg_scale": 2.5, "repetition_penalty": 1.0, "sample": SAMPLE,
    "constraint": {"codes": 150},
}  # fmt: skip
ALONE = {"song": "s", "role": "alone", "repetition_penalty": 1, "sample": SAMPLE, "constraint": None}


def _with(mapping, path, value):
    changed = copy.deepcopy(mapping)
    *above, key = path.split(".")
    place = changed
    for name in above:
        place = place[name]
    if value is ...:
        del place[key]
    else:
        place[key] = value
    return changed


def _exactly(line):
    return f"^{re.escape(line)}$"


def test_a_pairs_half_is_read():
    assert parse(PAIRED) == RowSpec(
        "s", "conditional", pair="p", cfg_scale=2.5, repetition_penalty=1.0,
        sample=Sample(0.85, 0, 0.9, 2**32 - 1, "codes"), constraint=Codes(150),
    )  # fmt: skip


def test_a_block_is_read():
    fields = (("bpm", None), ("caption", None), ("duration", "30"), ("keyscale", "C♯ major"))
    spec = parse({**ALONE, "constraint": {"block": BLOCK}})
    assert isinstance(spec.constraint, Block)
    assert spec.constraint == Block(fields, duration_max=600, caption_max=512, text=True, text_max=2048)
    assert spec == parse({**ALONE, "constraint": {"block": {**BLOCK, "fields": fields}}})
    ending = parse({**ALONE, "constraint": {"block": {**BLOCK, "then": "end"}}})
    assert ending.constraint == replace(spec.constraint, text=False)


@pytest.mark.parametrize("role", ["cancel", "ask"])
def test_a_request_about_a_song_needs_the_song_alone(role):
    assert parse({"song": "s", "role": role}) == RowSpec("s", role)
    assert parse({**PAIRED, "role": role}) == RowSpec("s", role)


def test_halves_match_if_all_but_the_role_is_equal():
    conditional = parse(PAIRED)
    assert conditional.matches(parse({**PAIRED, "role": "unconditional"}))
    assert parse({**PAIRED, "role": "unconditional"}).matches(conditional)
    assert not conditional.matches(conditional)
    assert not conditional.matches(parse({**PAIRED, "role": "unconditional", "cfg_scale": 2.0}))
    assert not parse(ALONE).matches(parse(ALONE))


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("song", ..., "song: missing"),
        ("song", "", "song: text of 1 to 256 characters"),
        ("role", "half", "role: one of conditional, unconditional, alone, cancel, ask"),
        ("role", ["alone"], "role: one of conditional, unconditional, alone, cancel, ask"),
        ("role", "alone", "pair and cfg_scale: only with role conditional or unconditional"),
        ("pair", ..., "pair: missing"),
        ("cfg_scale", 10.5, "cfg_scale: a number from 0 to 10"),
        ("cfg_scale", True, "cfg_scale: a number from 0 to 10"),
        ("cfg_scale", float("nan"), "cfg_scale: a number from 0 to 10"),
        ("repetition_penalty", 0.4, "repetition_penalty: a number from 0.5 to 2"),
        ("repetition_penalty", ..., "repetition_penalty: missing"),
        ("sample", None, "sample: an object"),
        ("sample.temperature", -0.1, "sample.temperature: a number from 0 to 2"),
        ("sample.top_k", 1.0, "sample.top_k: an integer from 0 to 2147483647"),
        ("sample.top_p", 0, "sample.top_p: above 0 (1 or more: off)"),
        ("sample.seed", 2**32, "sample.seed: an integer from 0 to 4294967295"),
        ("sample.purpose", "", "sample.purpose: text of 1 to 64 characters"),
        ("sample.min_p", 0.1, "sample.min_p: no such key"),
        ("constraint", "codes", "constraint: an object"),
        ("constraint", {}, "constraint: null, codes or block"),
        ("constraint.codes", 0, "constraint.codes: an integer from 1 to 3000"),
        ("constraint.block", BLOCK, "constraint: null, codes or block"),
        ("guidance", 1, "guidance: no such key"),
    ],
)
def test_what_is_wrong_is_named(path, value, line):
    with pytest.raises(ValueError, match=_exactly(line)):
        parse(_with(PAIRED, path, value))


ONCE = "fields: each of bpm, caption, duration, genres, keyscale, language, timesignature at most once"
PLAIN = "takes null or 1 to 64 printable characters, none of < and `"


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("fields", "bpm", "fields: a list of [name, value or null]"),
        ("fields", ["bpm"], "fields: a list of [name, value or null]"),
        ("fields", [["tempo", None]], ONCE),
        ("fields", [["bpm", None]] * 2, ONCE),
        ("fields", [[["bpm"], None]], ONCE),
        ("fields", [["caption", "mine"]], "fields: caption is the LM's to write (null) or left out"),
        ("fields", [["genres", "rock"]], "fields: genres is the LM's to write (null) or left out"),
        ("fields", [["bpm", 120]], f"fields: bpm {PLAIN}"),
        ("fields", [["bpm", "120\n</think>"]], f"fields: bpm {PLAIN}"),
        ("fields", [["keyscale", "<|im_end|>"]], f"fields: keyscale {PLAIN}"),
        ("fields", [["language", " en"]], f"fields: language {PLAIN}"),
        ("fields", [["language", "e\u0301"]], f"fields: language {PLAIN}"),
        ("duration_max", 601, "duration_max: an integer from 10 to 600"),
        ("caption_max", 7, "caption_max: an integer from 8 to 4096"),
        ("then", "lyrics", "then: one of end, text"),
        ("text_max", ..., "text_max: missing"),
        ("text", True, "text: no such key"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_block_is_named(path, value, line):
    with pytest.raises(ValueError, match=_exactly(f"constraint.block.{line}")):
        parse({**ALONE, "constraint": {"block": _with(BLOCK, path, value)}})


@pytest.mark.parametrize("mapping", [None, [], "text", 3])
def test_anything_but_an_object_is_refused(mapping):
    with pytest.raises(ValueError, match=_exactly("acestep: an object")):
        parse(mapping)
