"""The texts that the models are given equal the golden ones, by the pipeline and by the tests' own implementation.

The golden files hold what the original project's own formatting functions made of the same inputs, each with its
source; no code of ours wrote them.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import facts
from pipeline.lm import prompts as lm
from pipeline.lm.block import Sheet, write_block
from pipeline.lm.prompts import Brief
from pipeline.lm.template import ChatTemplate
from pipeline.plan import Heard, plan_song
from pipeline.request import read_song
from pipeline.tokens import PromptTokenizer, TokenIds
from tests import exported
from tests.support.oracle import prompts as oracle

GOLDEN = Path(__file__).parent / "golden"
STEMS = "acestep-tiny-stems"


def golden(name: str) -> dict[str, dict[str, Any]]:
    """The entries of a golden file by name."""
    entries = json.loads((GOLDEN / name).read_text(encoding="utf-8"))
    named = {entry["name"]: entry for entry in entries}
    assert len(named) == len(entries)
    assert all(entry["source"] for entry in entries)
    return named


DIT, LM = golden("dit_prompts.json"), golden("lm_layouts.json")
MODELS = {"turbo": exported.TURBO, "base": exported.BASE, "lego-sft": STEMS}


class Recorder(PromptTokenizer):
    """Keeps the texts it is given."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode(self, text: str, limit: int) -> TokenIds:
        self.texts.append(text)
        return TokenIds(np.zeros(1, np.int64), 0)


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> facts.Served:
    """The embedded models, and the base one once more as if it had been trained on stems (upstream's `is_lego_sft`)."""
    folder = tmp_path_factory.mktemp("version") / "models"
    shutil.copytree(exported.repository() / "acestep" / "1" / "models", folder)
    shutil.copytree(folder / exported.BASE, folder / STEMS)
    of_model = json.loads((folder / STEMS / "facts.json").read_text())
    (folder / STEMS / "facts.json").write_text(json.dumps(of_model | {"name": STEMS, "is_lego_sft": True}))
    of_all = json.loads((folder / "served.json").read_text())
    models = [*of_all["models"], STEMS]
    (folder / "served.json").write_text(json.dumps({**of_all, "models": models, "lm": None}))
    return facts.load(folder)


@pytest.mark.parametrize("name", DIT)
def test_the_texts_that_the_pipeline_gives_a_dit(served, name):
    entry, recorder = DIT[name], Recorder()
    request = read_song({"kind": "song", "model": MODELS[entry["model"]], **entry["request"]})
    seconds = entry.get("source_seconds")
    plan_song(request, served, recorder, Heard(None if seconds is None else round(seconds * 48_000)))
    assert recorder.texts == list(entry["expected"].values())


@pytest.mark.parametrize("name", DIT)
def test_the_oracle_s_texts_for_a_dit(name):
    entry = DIT[name]
    request = entry["request"]
    seconds = entry.get("source_seconds") or request.get("duration") or len(request["codes"][0]) / 5
    assert oracle.dit_texts(request, seconds, entry["model"] == "lego-sft") == entry["expected"]


_codes_negative: Callable[..., Any] = lm.codes_negative
# The functions of the pipeline and of the oracle for each kind of layout, by the golden entry's inputs.
PIPELINE: dict[str, Callable[..., Any]] = {
    "metadata": lambda caption, lyrics: lm.metadata_prompt(Brief(caption, lyrics)),
    "codes": lambda caption, lyrics, sheet: lm.codes_prompt(Brief(caption, lyrics), write_block(sheet_of(sheet))),
    "codes negative": lambda caption, lyrics, negative: _codes_negative(negative),
    "understand": lambda codes: lm.understand_prompt(tuple(codes)),
    "sample": lm.sample_prompt,
    "format": lambda caption, lyrics: lm.format_prompt(Brief(caption, lyrics)),
}
ORACLE: dict[str, Callable[..., str]] = {
    "metadata": oracle.lm_metadata,
    "codes": lambda caption, lyrics, sheet: oracle.lm_codes(caption, lyrics, oracle.lm_block(sheet)),
    "codes negative": lambda caption, lyrics, negative: oracle.lm_codes_negative(negative),
    "understand": oracle.lm_understand,
    "sample": oracle.lm_sample,
    "format": oracle.lm_format,
}


def sheet_of(values: dict[str, Any]) -> Sheet:
    return Sheet(**values)


@pytest.fixture(scope="module")
def template() -> ChatTemplate:
    return ChatTemplate((exported.repository() / "acestep" / "1" / "lm" / "chat_template.jinja").read_text())


@pytest.mark.parametrize("name", LM)
def test_the_layouts_that_the_pipeline_gives_the_lm(template, name):
    entry = LM[name]
    prompt = PIPELINE[entry["kind"]](**entry["inputs"])
    assert template.render(prompt.turns, prompt.begun) == entry["expected"]


@pytest.mark.parametrize("name", LM)
def test_the_oracle_s_layouts_for_the_lm(name):
    entry = LM[name]
    assert ORACLE[entry["kind"]](**entry["inputs"]) == entry["expected"]


@pytest.mark.parametrize("name", [name for name, entry in LM.items() if "block" in entry])
def test_the_block_of_a_sheet(name):
    entry = LM[name]
    assert oracle.lm_block(entry["inputs"]["sheet"]) == entry["block"]
    assert write_block(sheet_of(entry["inputs"]["sheet"])) == entry["block"]
