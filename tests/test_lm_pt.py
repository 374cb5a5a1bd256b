"""The PyTorch engine of the 5 Hz LM: exact beside loops without cache and padding, and it ends what is to end."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from tritonclient.utils import InferenceServerException

from engine import language_model
from engine.engine import Engine
from engine.guided_loop import write
from engine.language_model import LanguageModel, Settings
from engine.request import Gone
from engine.text import TextStream
from export import tiny_lm
from lm_guidance import spec
from lm_guidance.contract import Delta, GenerateRequest, RequestError
from lm_guidance.row import Row as Completion
from lm_guidance.sampling import Turn, choose
from tests import lm_client
from tests.conftest import StartStack, wait_for_model
from tests.lm_client import Ask

MODEL = Path(__file__).parent.parent / "model_repository" / "lm_pt"
GREEDY = {"temperature": 0, "top_k": 0, "top_p": 1.0, "seed": 0, "purpose": "codes"}
API_DEFAULT = {"temperature": 0.85, "top_k": 0, "top_p": 0.9, "seed": 7, "purpose": "codes"}
LONG = "<|im_start|>user\n# Caption\nsoft piano, slow drums\n\n# Lyric\n雨の日\n<|im_end|>\n<|im_start|>assistant\n"
SHORT = "<|im_start|>user\n# Lyric\nrain\n<|im_end|>\n<|im_start|>assistant\n"
CODE = re.compile(r"<\|audio_code_(\d+)\|>")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads wait for each other at every product; beside other tests that takes a hundred times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "lm"
    tiny_lm.write(folder)
    return folder


@pytest.fixture(scope="module")
def lm(checkpoint) -> LanguageModel:
    return language_model.load(Settings(checkpoint, torch.float32, 2048, "cpu"))


@pytest.fixture
def engine(lm) -> Iterator[Engine]:
    running = Engine(lm, print, patience=0.3)
    yield running
    running.close()


def row(role: str = "alone", **keys: Any) -> dict[str, Any]:
    """A row's specification; a pair's halves share song and pair unless `keys` says otherwise."""
    paired = {"pair": "p", "cfg_scale": 2.5} if role != "alone" else {}
    spoken = {"repetition_penalty": 1.0, "sample": GREEDY, "constraint": None}
    return {"song": "s", "role": role, **spoken, **paired, **keys}


def pair(**keys: Any) -> list[dict[str, Any]]:
    ids = {"song": uuid.uuid4().hex, "pair": uuid.uuid4().hex}
    return [row(role, **(ids | keys)) for role in ("conditional", "unconditional")]


# The algorithm


def plain_logits(model: Any, prompt: list[int], completion: list[int]) -> torch.Tensor:
    """Logits of the next token: the whole sequence alone through the network, nothing cached, nothing padded."""
    with torch.inference_mode():
        ids = torch.tensor([prompt + completion])
        return model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[0, -1]


def test_a_greedy_row_alone_is_the_plain_loop(lm):
    prompt = lm.encode(LONG)
    tokens = list(islice(write(lm, spec.parse(row()), [prompt]), 60))
    for position, token in enumerate(tokens):
        assert token == int(plain_logits(lm.model, prompt, tokens[:position]).argmax())


def double(lm: LanguageModel) -> Any:
    """The same network in float64."""
    model = type(lm.model)(lm.model.config).eval()
    model.load_state_dict(lm.model.state_dict())
    return model.double()


@pytest.mark.parametrize("prompts", [(LONG, SHORT), (SHORT, LONG)])
def test_greedy_guidance_is_exact(lm, prompts):
    """u + s(c - u), by a formula of the test's own on logits of float64, the codes mask after it."""
    conditional, unconditional = map(lm.encode, prompts)
    asked = row("conditional", constraint={"codes": 40})
    tokens = list(write(lm, spec.parse(asked), [conditional, unconditional]))
    codes = lm.grammar.vocabulary.codes
    network = double(lm)
    assert len(tokens) == 41
    assert tokens[-1] == lm.eos
    for position, token in enumerate(tokens[:-1]):
        with_caption = plain_logits(network, conditional, tokens[:position])
        without = plain_logits(network, unconditional, tokens[:position])
        guided = without + 2.5 * (with_caption - without)
        assert token == codes.start + int(guided[codes.start : codes.stop].argmax())


def test_drawn_guidance_is_exact(lm):
    """The draw of float64 logits is the draw of the cached, padded float32 ones."""
    prompts = [lm.encode(LONG), lm.encode(SHORT)]
    asked = spec.parse(row("conditional", constraint={"codes": 60}, sample=API_DEFAULT, repetition_penalty=1.2))
    tokens = list(write(lm, asked, prompts))
    completion, network = Completion(asked, lm.grammar), double(lm)
    for token in tokens:
        logits = torch.stack([plain_logits(network, prompt, completion.tokens) for prompt in prompts])
        assert token == int(choose(logits, [Turn(completion, 0, 1)]))
        if token != lm.eos:
            completion.append(token)
    assert len(set(tokens)) > 30


def test_both_prompts_matter(lm):
    asked = spec.parse(row("conditional", constraint={"codes": 8}))
    runs = [[LONG, SHORT], [LONG, LONG], [SHORT, SHORT]]
    tokens = [tuple(write(lm, asked, [lm.encode(prompt) for prompt in prompts])) for prompts in runs]
    assert len(set(tokens)) == 3


def test_text_is_never_half_a_character(lm):
    text = "雨の日 ♯ é 🎵 <think>"
    stream = TextStream(lm.tokenizer, lm.encode(SHORT), skip_special_tokens=False)
    deltas = [stream.step(token) for token in lm.encode(text)]
    assert "".join(deltas) == text
    assert "\ufffd" not in "".join(deltas)
    assert "" in deltas


def test_broken_characters_do_not_stop_the_text(lm):
    stream = TextStream(lm.tokenizer, lm.encode(SHORT), skip_special_tokens=False)
    rain = lm.encode("雨")
    assert len(rain) == 3
    said = "".join(stream.step(token) for token in [*rain[:2], *rain[:1], *rain, *lm.encode(" and sun")])
    assert said.endswith("雨 and sun")


# The engine


@dataclass
class Listener:
    """A client that keeps what it is told, and can leave."""

    deltas: list[Delta] = field(default_factory=list)
    error: Exception | None = None
    gone: bool = False
    ended: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)

    def send(self, delta: Delta) -> None:
        assert not self.ended.is_set()
        self.deltas.append(delta)
        self.begun.set()
        if delta.finish_reason:
            self.ended.set()

    def fail(self, error: Exception) -> None:
        assert not self.ended.is_set()
        self.error = error
        self.ended.set()

    def is_gone(self) -> bool:
        return self.gone

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas)

    def finish(self, seconds: float = 60.0) -> str | None:
        """Waits for the end; its reason, None for an error."""
        assert self.ended.wait(seconds), "the stream does not end"
        return self.deltas[-1].finish_reason if self.error is None else None


def wish(extra: Mapping[str, Any], prompt: str = SHORT, max_tokens: int = 20, **more: Any) -> GenerateRequest:
    sampling = {"temperature": 0, "max_tokens": max_tokens, "skip_special_tokens": False}
    returns = frozenset(more.pop("returns", ()))
    return GenerateRequest(prompt, True, False, sampling | {"extra_args": {"acestep": extra}} | more, returns)


def ask(engine: Engine, lm: LanguageModel, extra: Mapping[str, Any], *args: Any, **more: Any) -> Listener:
    """A row that is asked for as `wish` says."""
    listener, request = Listener(), wish(extra, *args, **more)
    engine.submit(request, lm.encode(request.prompt), listener)
    return listener


def ask_pair(engine: Engine, lm: LanguageModel, max_tokens: int = 20, **keys: Any) -> list[Listener]:
    rows = pair(**keys)
    return [ask(engine, lm, each, prompt, max_tokens) for each, prompt in zip(rows, (LONG, SHORT), strict=True)]


def tell(engine: Engine, lm: LanguageModel, role: str, song: str) -> str | None:
    """The answer to a `cancel` or an `ask`, which is there at once."""
    listener = ask(engine, lm, {"role": role, "song": song}, "", 1)
    assert listener.ended.is_set()
    return listener.finish()


@pytest.mark.parametrize("turned", [False, True])
def test_halves_may_come_in_either_order(engine, lm, turned):
    song = list(zip(pair(constraint={"codes": 30}, sample=API_DEFAULT), (LONG, SHORT), strict=True))
    listeners = [ask(engine, lm, each, prompt, 31) for each, prompt in (song[::-1] if turned else song)]
    assert [each.finish() for each in listeners] == ["stop", "stop"]
    texts = {each.text for each in listeners}
    asked = spec.parse(song[0][0])
    tokens = list(write(lm, asked, [lm.encode(LONG), lm.encode(SHORT)]))
    assert texts == {lm.tokenizer.decode(tokens[:-1], skip_special_tokens=False)}
    assert len(CODE.findall(texts.pop())) == 30
    assert sum(delta.tokens for delta in listeners[0].deltas) == 31


def test_a_completion_ends_at_max_tokens(engine, lm):
    listener = ask(engine, lm, row(constraint={"codes": 30}), max_tokens=12)
    assert listener.finish() == "length"
    assert len(CODE.findall(listener.text)) == 12


def test_special_tokens_can_be_left_out(engine, lm):
    listener = ask(engine, lm, row(constraint={"codes": 5}), skip_special_tokens=True)
    assert listener.finish() == "stop"
    assert listener.text == ""


def test_metadata_block(engine, lm):
    block = {"fields": [["bpm", None], ["duration", "30"], ["keyscale", None], ["timesignature", "4"]],
             "duration_max": 60, "caption_max": 48, "then": "end", "text_max": 192}
    listeners = ask_pair(engine, lm, 200, constraint={"block": block}, sample=API_DEFAULT)
    assert [each.finish() for each in listeners] == ["stop", "stop"]
    assert re.fullmatch(
        r"<think>\nbpm: \d+\nduration: 30\nkeyscale: [A-G][#b♯♭]? (major|minor)\ntimesignature: 4\n</think>",
        listeners[0].text,
    )


def test_songs_go_one_after_the_other_and_do_not_matter_to_each_other(engine, lm):
    songs = [ask_pair(engine, lm, 13, constraint={"codes": 12}, sample=API_DEFAULT) for _ in range(4)]
    texts = {listener.text for listeners in songs for listener in listeners if listener.finish()}
    assert len(texts) == 1


def test_cancel_ends_what_runs(engine, lm):
    listeners = ask_pair(engine, lm, 1501, song="loud", constraint={"codes": 1500})
    assert listeners[0].begun.wait(30)
    assert tell(engine, lm, "ask", "loud") == "stop"
    begin = time.monotonic()
    assert tell(engine, lm, "cancel", "loud") == "stop"
    assert [each.finish(0) for each in listeners] == ["abort", "abort"]
    assert time.monotonic() - begin < 10
    assert tell(engine, lm, "ask", "loud") == "abort"
    assert ask_pair(engine, lm, 2, constraint={"codes": 1})[0].finish(5) == "stop"  # the engine is free again


def test_cancel_ends_what_waits_and_nothing_else(engine, lm):
    running = ask_pair(engine, lm, 101, song="first", constraint={"codes": 100})
    waiting = ask_pair(engine, lm, 101, song="second", constraint={"codes": 100})
    behind = ask(engine, lm, row(song="third", constraint={"codes": 1}))
    assert tell(engine, lm, "ask", "second") == "stop"
    assert tell(engine, lm, "cancel", "second") == "stop"
    assert [each.finish(0) for each in waiting] == ["abort", "abort"]
    assert [each.finish() for each in running] == ["stop", "stop"]
    assert behind.finish() == "stop"


def test_cancel_ends_a_half_and_the_other_that_comes_late(engine, lm):
    halves = pair(song="gone", constraint={"codes": 5})
    first = ask(engine, lm, halves[0])
    assert tell(engine, lm, "ask", "gone") == "stop"
    assert tell(engine, lm, "cancel", "gone") == "stop"
    assert first.finish(0) == "abort"
    assert ask(engine, lm, halves[1]).finish(0) == "abort"


def test_cancel_of_a_song_that_nobody_knows(engine, lm):
    assert tell(engine, lm, "ask", "nobody") == "abort"
    assert tell(engine, lm, "cancel", "nobody") == "stop"


def test_a_half_alone_does_not_wait_for_ever(engine, lm):
    busy = ask(engine, lm, row(constraint={"codes": 1000}), max_tokens=1001)
    begin = time.monotonic()
    half = ask(engine, lm, pair()[0])
    assert half.finish(5) == "abort"
    assert 0.3 <= time.monotonic() - begin < 5
    assert not busy.ended.is_set()
    tell(engine, lm, "cancel", "s")


def test_a_client_that_leaves_frees_the_engine(engine, lm):
    left, partner = ask_pair(engine, lm, 1501, constraint={"codes": 1500})
    assert left.begun.wait(30)
    left.gone = True
    assert left.finish(5) is None
    assert isinstance(left.error, Gone)
    assert partner.finish(5) == "abort"


def test_a_client_that_left_while_it_waited_is_passed_over(engine, lm):
    busy = ask(engine, lm, row(song="busy", constraint={"codes": 50}), max_tokens=51)
    left, partner = ask_pair(engine, lm, 1501, constraint={"codes": 1500})
    left.gone = True
    assert busy.finish() == "stop"
    assert left.finish(5) is None
    assert partner.finish(5) == "abort"
    assert partner.text == ""


def test_a_fault_ends_its_own_song_alone(engine, lm):
    class Broken(Listener):
        def send(self, delta: Delta) -> None:
            raise OSError("no way to the client")

    broken = Broken()
    engine.submit(wish(row(constraint={"codes": 5})), lm.encode(SHORT), broken)
    assert broken.finish() is None
    assert isinstance(broken.error, OSError)
    assert ask(engine, lm, row(song="next", constraint={"codes": 5})).finish() == "stop"


def test_close_ends_everything(lm):
    engine = Engine(lm, print)
    open_streams = [*ask_pair(engine, lm, 1501, constraint={"codes": 1500}), ask(engine, lm, pair()[0])]
    assert open_streams[0].begun.wait(30)
    engine.close()
    assert [each.finish(0) for each in open_streams] == ["abort"] * 3
    with pytest.raises(RuntimeError, match="has ended"):
        ask(engine, lm, row())


def test_halves_that_disagree(engine, lm):
    conditional, unconditional = pair(constraint={"codes": 5})
    first = ask(engine, lm, conditional)
    with pytest.raises(RequestError, match="halves disagree"):
        ask(engine, lm, unconditional | {"cfg_scale": 3.0})
    assert first.finish(0) is None
    assert str(first.error) == "pair: its two halves disagree"
    with pytest.raises(RequestError, match="used before"):
        ask(engine, lm, conditional)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"temperature": 1.0}, "sampling_parameters: temperature must be 0, extra_args.acestep.sample says"),
        ({"top_k": 5}, "sampling_parameters: this engine does without 'top_k'"),
        ({"max_tokens": 0}, "sampling_parameters: max_tokens must be 1 or more, not 0"),
        ({"max_tokens": 2048}, "prompt and max_tokens are longer than max_model_len 2048"),
        ({"extra_args": {}}, "sampling_parameters: extra_args must hold 'acestep' and nothing else"),
        ({"extra_args": {"acestep": {"song": "s", "role": "loud"}}}, "role: one of "),
        ({"prompt": ""}, "text_input: must not be empty"),
        ({"returns": ["logprobs"]}, "return_logprobs: this engine keeps no probabilities"),
    ],
)
def test_refusals(engine, lm, change, line):
    with pytest.raises(RequestError, match=re.escape(line)):
        ask(engine, lm, row(), **change)


def test_settings(tmp_path):
    file = tmp_path / "model.json"
    good = {"model": str(tmp_path), "dtype": "bfloat16", "max_model_len": 4096}
    file.write_text(json.dumps(good | {"device": "cpu"}))
    assert Settings.read(file) == Settings(tmp_path, torch.bfloat16, 4096, "cpu")
    for bad, word in ((good | {"dtype": "int8"}, "dtype must be one of"), (good | {"block_size": 16}, "'block_size'"),
                      ({"dtype": "float32", "max_model_len": 1}, "'model'")):
        file.write_text(json.dumps(bad))
        with pytest.raises(ValueError, match=word):
            Settings.read(file)


# On Triton


@pytest.fixture
def repository(tmp_path, checkpoint, toy_repository) -> Path:
    """`lm_pt` as the export assembles it, beside a pipeline that answers pings."""
    folder = tmp_path / "repository"
    shutil.copytree(toy_repository / "acestep", folder / "acestep")
    shutil.copytree(MODEL, folder / "lm_pt", ignore=shutil.ignore_patterns("__pycache__"))
    settings = {"model": str(checkpoint), "dtype": "float32", "max_model_len": 2048}
    (folder / "lm_pt" / "1" / "model.json").write_text(json.dumps(settings))
    return folder


async def test_triton_serves_it(start_stack: StartStack, repository, lm):
    """One server for all that is seen through it: what is written, cancels, a client that leaves, errors."""
    served = start_stack(repository=repository, frontend=False)
    wait_for_model(served, "lm_pt")
    grpc = served.triton_grpc
    asked = Ask(LONG, SHORT, constraint={"codes": 25}, max_tokens=26, seed=7)
    near, far = await asyncio.gather(
        lm_client.write(grpc, "lm_pt", asked), lm_client.write(grpc, "lm_pt", asked, apart=0.5)
    )
    here = spec.parse(row("conditional", constraint={"codes": 25}, sample=API_DEFAULT))
    tokens = list(write(lm, here, [lm.encode(LONG), lm.encode(SHORT)]))
    text = lm.tokenizer.decode(tokens[:-1], skip_special_tokens=False)
    assert near == far == lm_client.Row(text, "stop", len(lm.encode(LONG)), 26)

    endless = Ask(LONG, SHORT, constraint={"codes": 1800}, max_tokens=1801)
    songs = [asyncio.create_task(lm_client.write(grpc, "lm_pt", endless, song=name)) for name in ("one", "two")]
    await asyncio.sleep(1)
    for name in ("two", "one"):
        assert (await lm_client.tell(grpc, "lm_pt", "ask", name)).finish == "stop"
        begin = time.monotonic()
        assert (await lm_client.tell(grpc, "lm_pt", "cancel", name)).finish == "stop"
        assert time.monotonic() - begin < 10
    assert [(await song).finish for song in songs] == ["abort", "abort"]

    leaving = asyncio.create_task(lm_client.write(grpc, "lm_pt", endless, song="left"))
    await asyncio.sleep(1)
    assert (await lm_client.tell(grpc, "lm_pt", "ask", "left")).finish == "stop"
    leaving.cancel()
    deadline = time.monotonic() + 5
    while (await lm_client.tell(grpc, "lm_pt", "ask", "left")).finish == "stop":
        assert time.monotonic() < deadline, "the engine writes on for nobody"
        await asyncio.sleep(0.05)

    with pytest.raises(InferenceServerException, match=r"^Error generating stream: constraint\.codes: an integer from"):
        await lm_client.write(grpc, "lm_pt", Ask(LONG, constraint={"codes": 0}))

    body = {"text_input": SHORT, "return_finish_reason": True, "return_num_output_tokens": True,
            "sampling_parameters": json.dumps(wish(row(constraint={"codes": 5})).sampling)}
    async with httpx.AsyncClient() as client:
        answer = (await client.post(f"http://{served.triton_http}/v2/models/lm_pt/generate", json=body)).json()
    assert answer["text_output"].startswith(SHORT)
    assert len(CODE.findall(answer["text_output"].removeprefix(SHORT))) == 5
    assert (answer["finish_reason"], answer["num_output_tokens"]) == ("stop", 6)
