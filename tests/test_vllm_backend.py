"""The stand-in for the official vLLM backend: the same tensors, the same rules, a real engine behind them."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from embedded.triton_control import TritonControl, TritonError
from lm_guidance import contract
from tests import exported
from tests.conftest import RunningStack, start, wait_for_model
from tests.lm_metrics import lm_metric

PROMPT = "rain on the roof"
GREEDY = {"temperature": 0, "max_tokens": 12, "ignore_eos": True, "skip_special_tokens": False}  # it writes codes
EVERYTHING = {f"return_{name}": True for name in contract.OPTIONAL_OUTPUTS}

Response = dict[str, Any]


@pytest.fixture(scope="module")
def lm(stack: RunningStack) -> RunningStack:
    """The shared stack with its LM loaded."""
    wait_for_model(stack, "lm")
    return stack


@pytest.fixture
async def client(lm: RunningStack) -> AsyncIterator[InferenceServerClient]:
    async with InferenceServerClient(lm.triton_grpc) as client:
        yield client


def tensors(sampling: Any, **inputs: Any) -> list[InferInput]:
    """A request's inputs: the prompt, the sampling parameters (a text as it stands), and what else is given."""
    sampling = sampling if isinstance(sampling, str) else json.dumps(sampling)
    made = []
    for name, value in {"text_input": PROMPT, "sampling_parameters": sampling, **inputs}.items():
        array = np.array([value.encode()], object) if isinstance(value, str) else np.array([value])
        made.append(InferInput(name, [1], "BYTES" if isinstance(value, str) else "BOOL"))
        made[-1].set_data_from_numpy(array)
    return made


async def responses(client: InferenceServerClient, inputs: list[InferInput]) -> AsyncGenerator[Response]:
    """Each response's outputs by name, texts decoded, and `final`."""

    async def requests() -> AsyncIterator[dict[str, Any]]:
        yield {"model_name": "lm", "inputs": inputs}

    answers = client.stream_infer(requests())
    try:
        async for result, error in answers:
            if error is not None:
                raise error
            response = result.get_response()
            found = {output.name: result.as_numpy(output.name).reshape(-1).tolist() for output in response.outputs}
            texts = {name: [v.decode() if isinstance(v, bytes) else v for v in vs] for name, vs in found.items()}
            yield texts | {"final": response.parameters["triton_final_response"].bool_param}
    finally:
        answers.cancel()


async def ask(client: InferenceServerClient, sampling: Any, **inputs: Any) -> list[Response]:
    return [response async for response in responses(client, tensors(sampling, **inputs))]


async def refusal(client: InferenceServerClient, sampling: Any, **inputs: Any) -> str:
    with pytest.raises(InferenceServerException) as caught:
        await ask(client, sampling, **inputs)
    said = str(caught.value)
    assert "\n" not in said
    assert not re.search(r"/\w+/", said), "a path of the server's machine in a client's error"
    return said


async def test_a_stream_is_the_single_answer_in_pieces(client: InferenceServerClient) -> None:
    pieces = await ask(client, GREEDY, stream=True, **EVERYTHING)
    (whole,) = await ask(client, GREEDY, exclude_input_in_output=True, **EVERYTHING)
    assert "".join(piece["text_output"][0] for piece in pieces) == whole["text_output"][0] != ""
    assert [piece["final"] for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert len(pieces) > 3
    assert {piece["finish_reason"][0] for piece in pieces[:-1]} == {"None"}
    assert pieces[-1]["finish_reason"] == whole["finish_reason"] == ["length"]
    assert sum(piece["num_output_tokens"][0] for piece in pieces) == whole["num_output_tokens"][0] == 12
    assert {piece["num_input_tokens"][0] for piece in pieces} == set(whole["num_input_tokens"])


async def test_a_single_answer_begins_with_its_prompt_unless_told_otherwise(client: InferenceServerClient) -> None:
    (without,) = await ask(client, GREEDY, exclude_input_in_output=True)
    for inputs in ({}, {"stream": False}, {"exclude_input_in_output": False}):
        (answer,) = await ask(client, GREEDY, **inputs)
        assert answer["text_output"] == [PROMPT + without["text_output"][0]]
    streamed = await ask(client, GREEDY, stream=True)
    assert "".join(piece["text_output"][0] for piece in streamed) == without["text_output"][0]


async def test_only_what_was_asked_for_is_sent(client: InferenceServerClient) -> None:
    (plain,) = await ask(client, GREEDY)
    assert plain.keys() == {"text_output", "final"}
    (asked,) = await ask(client, GREEDY, return_logprobs=True, return_num_output_tokens=False)
    assert asked.keys() == {"text_output", "logprobs", "final"}
    assert asked["logprobs"] == ["null"]


async def test_logprobs_are_those_of_the_new_tokens(client: InferenceServerClient) -> None:
    pieces = await ask(client, GREEDY | {"logprobs": 2}, stream=True, **EVERYTHING)
    for piece in pieces:
        places = json.loads(piece["logprobs"][0])
        assert len(places) == piece["num_output_tokens"][0]
        assert all(min(each["rank"] for each in place.values()) == 1 for place in places)
        assert all(each.keys() == {"logprob", "rank", "decoded_token"} for p in places for each in p.values())
    best = [max(each["logprob"] for each in place.values()) for p in pieces for place in json.loads(p["logprobs"][0])]
    assert pieces[-1]["cumulative_logprob"][0] == pytest.approx(sum(best), rel=1e-3)


async def test_several_completions_of_one_prompt(client: InferenceServerClient) -> None:
    sampling = GREEDY | {"n": 2, "temperature": 1, "seed": 3, "max_tokens": 5}
    (answer,) = await ask(client, sampling, exclude_input_in_output=True, **EVERYTHING)
    assert len(set(answer["text_output"])) == 2
    assert answer["num_output_tokens"] == [5, 5]
    assert "n must be 1 when streaming" in await refusal(client, sampling, stream=True)


async def test_structured_outputs_are_json_in_json(client: InferenceServerClient) -> None:
    sampling = {"max_tokens": 20, "structured_outputs": json.dumps({"choice": ["storm", "snow"]})}
    (answer,) = await ask(client, sampling, exclude_input_in_output=True)
    assert answer["text_output"][0] in ("storm", "snow")
    assert "structured_outputs must be a text" in await refusal(client, {"structured_outputs": {"choice": ["storm"]}})


def test_parameters_without_the_tensor(lm: RunningStack) -> None:
    body = {"text_input": PROMPT, "parameters": {"max_tokens": 3, "temperature": 0, "return_num_output_tokens": True}}
    answer = httpx.post(f"http://{lm.triton_http}/v2/models/lm/generate", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.json()["text_output"].startswith(PROMPT)
    assert answer.json()["num_output_tokens"] == 3


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "unknown key": ({"priority": 1}, {}, "unknown key 'priority'"),
    "another unknown key": ({"guided_decoding": "{}"}, {}, "unknown key 'guided_decoding'"),
    "null where a type is cast to": ({"seed": None}, {}, "seed must be a whole number, not null"),
    "wrong type": ({"max_tokens": "many"}, {}, 'max_tokens must be a whole number, not "many"'),
    "no mapping": ({"extra_args": 3}, {}, "extra_args must be a JSON object"),
    "wrong type inside": ({"stop": 3}, {}, "'int' object is not iterable"),
    "wrong value": ({"temperature": -1}, {}, "temperature must be non-negative"),
    "no object": ("[]", {}, "must be a JSON object"),
    "no JSON": ("{max_tokens: 3}", {}, "sampling_parameters: not JSON"),
    "LoRA": ({"lora_name": "rock"}, {}, "LoRA feature is not enabled."),
    "prompt in a stream": ({}, {"stream": True, "exclude_input_in_output": False},
                           "When streaming, `exclude_input_in_output` = False is not allowed."),
    "image": ({}, {"image": "aGk="}, "image: this model takes text"),
    "embedding": ({}, {"embedding_request": "{}"}, "embedding_request: this model takes text"),
    "no prompt": ({}, {"text_input": ""}, "prompt"),
    "endless prompt": ({}, {"text_input": "la " * 20_000}, "maximum"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_not_allowed_is_refused_in_one_line(client: InferenceServerClient, case: str) -> None:
    sampling, inputs, text = REFUSED[case]
    said = await refusal(client, sampling, **inputs)
    assert said.startswith(contract.FAILED)
    assert text in said, said


def test_the_contract_knows_vllm_s_parameters_and_their_types() -> None:
    from vllm import SamplingParams

    annotations = SamplingParams.__annotations__
    cast = {int: int, float: float, bool: bool, str: str, int | None: int}
    assert {key: cast.get(annotations[key]) for key in contract.SAMPLING} == contract.SAMPLING


def test_the_model_s_configuration_has_the_contract_s_tensors(lm: RunningStack) -> None:
    config = httpx.get(f"http://{lm.triton_http}/v2/models/lm/config").json()
    assert {each["name"]: each["data_type"] for each in config["input"]} == contract.INPUTS
    assert {each["name"]: each["data_type"] for each in config["output"]} == contract.OUTPUTS


async def busy(lm: RunningStack) -> tuple[float, float]:
    return (await lm_metric(lm, "vllm:num_requests_running"), await lm_metric(lm, "vllm:num_requests_waiting"))


async def until_busy(lm: RunningStack, wanted: tuple[float, float], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while (found := await busy(lm)) != wanted:
        assert time.monotonic() < deadline, f"running and waiting are {found}, not {wanted}"
        await asyncio.sleep(0.02)


async def test_a_client_who_leaves_ends_its_request(lm: RunningStack, client: InferenceServerClient) -> None:
    """While it is written, and while it waits and the engine says nothing of it; the engine counts on."""
    await until_busy(lm, (0, 0))
    running = responses(client, tensors({"max_tokens": 8000, "ignore_eos": True}, stream=True))
    async for _ in running:
        break  # of thousands of tokens the first one has come
    await running.aclose()
    await until_busy(lm, (0, 0))
    spec = {"song": "s", "role": "conditional", "pair": "a pair of one", "cfg_scale": 2.0, "repetition_penalty": 1.0,
            "sample": {"temperature": 0, "top_k": 0, "top_p": 1, "seed": 0, "purpose": "codes"}, "constraint": None}
    parked = responses(client, tensors({"temperature": 0, "extra_args": {"acestep": spec}}, stream=True))
    waiting = asyncio.ensure_future(anext(parked))
    await until_busy(lm, (0, 1))
    waiting.cancel()
    await until_busy(lm, (0, 0), 8)  # by itself it would leave after ten seconds


async def test_metrics_have_the_official_names_and_count(lm: RunningStack, client: InferenceServerClient) -> None:
    names = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:request_generation_tokens_count",
             "vllm:request_generation_tokens_sum", "vllm:request_prompt_tokens_count",
             "vllm:time_to_first_token_seconds_count", "vllm:time_per_output_token_seconds_count",
             "vllm:e2e_request_latency_seconds_count", "vllm:request_params_n_count")
    await until_busy(lm, (0, 0))
    before = [await lm_metric(lm, name) for name in names]
    (answer,) = await ask(client, GREEDY, **EVERYTHING)
    prompt = answer["num_input_tokens"][0]
    for _ in range(100):
        after = [await lm_metric(lm, name) for name in names]
        if after[-1] != before[-1]:
            break
        await asyncio.sleep(0.02)
    assert [b - a for a, b in zip(before, after, strict=True)] == [prompt, 12, 1, 12, 1, 1, 11, 1, 1]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, toy_repository: Path) -> Iterator[tuple[TritonControl, Path]]:
    """A server that loads what a test puts into its repository."""
    repository = tmp_path_factory.mktemp("broken") / "repository"
    shutil.copytree(toy_repository / "acestep", repository / "acestep")
    running = start(tmp_path_factory.mktemp("broken-state"), repository, False)
    control = TritonControl(running.triton_grpc)
    yield control, repository
    control.close()
    assert running.stop() == 0


def reason(broken: tuple[TritonControl, Path], changes: dict[str, Any], **config: str) -> str:
    """Why the LM with another model.json, or other texts in its configuration, does not load."""
    control, repository = broken
    folder = repository / f"lm-{len(list(repository.iterdir()))}"
    (folder / "1").mkdir(parents=True)
    source = exported.repository() / "lm"
    text = (source / "config.pbtxt").read_text().replace('name: "lm"', f'name: "{folder.name}"')
    for old, new in config.items():
        text = text.replace(old, new)
    (folder / "config.pbtxt").write_text(text)
    checkpoint = {"model": str(source / "1" / "checkpoint")}
    values = json.loads((source / "1" / "model.json").read_text()) | checkpoint | changes
    (folder / "1" / "model.json").write_text(json.dumps(values))
    with pytest.raises(TritonError) as caught:
        control.load(folder.name, 250)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_that_is_no_checkpoint(broken: tuple[TritonControl, Path]) -> None:
    said = reason(broken, {"model": "/nowhere/lm"})
    assert said == "model.json: 'model' must be the folder of a checkpoint, but /nowhere/lm has no config.json"


def test_a_plug_in_that_is_not_installed(broken: tuple[TritonControl, Path]) -> None:
    said = reason(broken, {"logits_processors": ["missing_guidance.processor:Sampler"]})
    assert "there is no module missing_guidance.processor: `make setup` installs lm_guidance" in said


def test_a_parameter_that_the_official_backend_does_not_know(broken: tuple[TritonControl, Path]) -> None:
    assert "unknown parameter 'REPORT_METRICS'" in reason(broken, {}, REPORT_CUSTOM_METRICS="REPORT_METRICS")
    assert "must be true or false" in reason(broken, {}, **{'"true"': '"maybe"'})


def test_an_output_that_the_official_backend_does_not_have(broken: tuple[TritonControl, Path]) -> None:
    said = reason(broken, {}, **{'"cumulative_logprob"': '"perplexity"'})
    assert said.startswith("output 'perplexity' of type TYPE_FP32: the vllm backend has text_output TYPE_STRING")


@pytest.mark.slow
def test_an_engine_argument_that_vllm_does_not_have(broken: tuple[TritonControl, Path]) -> None:
    assert reason(broken, {"max_model_length": 9}) == "model.json: vLLM has no engine argument 'max_model_length'"


@pytest.mark.slow
def test_a_kv_cache_that_is_too_small_for_a_pair(broken: tuple[TritonControl, Path]) -> None:
    """The reason is raised in a process of vLLM's own; it is not the last thing that is said."""
    said = reason(broken, {"kv_cache_memory_bytes": 12_000_000})
    assert re.search(r"KV cache.*; LM_CPU_KV_GIB is 1$", said), said
