"""The request contract of Triton's vLLM backend: what a request may hold, what its responses hold, what is refused.

Facts from triton-inference-server/vllm_backend (8de0c148) with vLLM 0.32. Every engine that is served as an LM reads
and answers by these functions, so a client cannot tell them apart. Nothing here knows an engine or Triton.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

INPUTS = {
    "text_input": "TYPE_STRING", "image": "TYPE_STRING", "stream": "TYPE_BOOL", "sampling_parameters": "TYPE_STRING",
    "exclude_input_in_output": "TYPE_BOOL", "return_finish_reason": "TYPE_BOOL",
    "return_cumulative_logprob": "TYPE_BOOL", "return_logprobs": "TYPE_BOOL", "return_num_input_tokens": "TYPE_BOOL",
    "return_num_output_tokens": "TYPE_BOOL", "embedding_request": "TYPE_STRING",
}
OUTPUTS = {
    "text_output": "TYPE_STRING", "finish_reason": "TYPE_STRING", "cumulative_logprob": "TYPE_FP32",
    "logprobs": "TYPE_STRING", "num_input_tokens": "TYPE_UINT32", "num_output_tokens": "TYPE_UINT32",
}
OPTIONAL_OUTPUTS = tuple(name for name in OUTPUTS if name != "text_output")

# Keys of vLLM's SamplingParams that a request may set, with the type a value is cast to; None: taken as it is.
SAMPLING: dict[str, type | None] = {
    "n": int, "presence_penalty": float, "frequency_penalty": float, "repetition_penalty": float, "temperature": float,
    "top_p": float, "top_k": int, "min_p": float, "seed": int, "stop": None, "stop_token_ids": None,
    "ignore_eos": bool, "max_tokens": int, "min_tokens": int, "logprobs": int, "prompt_logprobs": int,
    "detokenize": bool, "skip_special_tokens": bool, "spaces_between_special_tokens": bool,
    "include_stop_str_in_output": bool, "structured_outputs": None, "logit_bias": None, "allowed_token_ids": None,
    "extra_args": None, "bad_words": None,
}
NOUNS = {int: "a whole number", float: "a number", bool: "true or false"}

CANCELLED = "Request was cancelled"
FAILED = "Error generating stream: "


class RequestError(ValueError):
    """A request that this contract does not allow; one line that names the tensor or key and may go to the client."""


@dataclass(frozen=True)
class GenerateRequest:
    """One request as read: `prepend` puts the prompt before the text, `returns` are the optional outputs asked for.

    `sampling` holds keys of SAMPLING only, cast; `structured_outputs` is a mapping there. What is not sent is absent:
    vLLM's defaults are temperature 1, max_tokens 16, skip_special_tokens true.
    """

    prompt: str
    stream: bool
    prepend: bool
    sampling: dict[str, Any]
    returns: frozenset[str]


@dataclass(frozen=True)
class Delta:
    """What one completion has gained since its last response; `finish_reason` is None until it has ended."""

    text: str
    tokens: int
    finish_reason: str | None
    cumulative_logprob: float | None = None
    logprobs: Sequence[Mapping[int, Mapping[str, Any]]] | None = None


def read(tensor: Callable[[str], Array | None], parameters: str) -> GenerateRequest:
    """The request whose input tensors `tensor` looks up by name (None: not sent); RequestError if it is not allowed.

    `parameters` is the JSON text of the Triton request's own parameters: they count where `sampling_parameters` is not
    sent. Streaming never repeats the prompt; a single answer does, unless `exclude_input_in_output` says no.
    """
    for name in ("image", "embedding_request"):
        if (sent := tensor(name)) is not None and sent.size:
            raise RequestError(f"{name}: this model takes text and gives text")
    stream = _flag(tensor, "stream") or False
    exclude = _flag(tensor, "exclude_input_in_output")
    if stream and exclude is False:
        raise RequestError("When streaming, `exclude_input_in_output` = False is not allowed.")
    text = _text(tensor, "sampling_parameters")
    return GenerateRequest(
        prompt=_text(tensor, "text_input") or "",
        stream=stream,
        prepend=not (stream or exclude),
        sampling=parse_sampling(parameters or "{}" if text is None else text),
        returns=frozenset(name for name in OPTIONAL_OUTPUTS if _flag(tensor, f"return_{name}")),
    )


def parse_sampling(text: str) -> dict[str, Any]:
    """Sampling parameters of a JSON text, cast to their types; RequestError names the key.

    `structured_outputs` is JSON text inside the JSON. null is a value only where no type is cast to.
    """
    try:
        given = json.loads(text)
    except ValueError as error:
        raise RequestError(f"sampling_parameters: not JSON ({error})") from None
    if not isinstance(given, dict):
        raise RequestError("sampling_parameters: must be a JSON object")
    if given.pop("lora_name", None) is not None:
        raise RequestError("LoRA feature is not enabled.")
    return {key: _cast(key, value) for key, value in given.items()}


def _cast(key: str, value: Any) -> Any:
    if key not in SAMPLING:
        raise RequestError(f"sampling_parameters: unknown key '{key}'")
    if key == "structured_outputs":
        try:
            inner = json.loads(value)
        except (ValueError, TypeError):
            inner = None
        if not isinstance(inner, dict):
            raise RequestError("sampling_parameters: structured_outputs must be a text that holds a JSON object")
        return inner
    if key == "extra_args" and not isinstance(value, dict | None):
        raise RequestError("sampling_parameters: extra_args must be a JSON object")
    kind = SAMPLING[key]
    if kind is None:
        return value
    try:
        return kind(value)
    except (TypeError, ValueError, OverflowError):
        raise RequestError(f"sampling_parameters: {key} must be {NOUNS[kind]}, not {json.dumps(value)[:40]}") from None


def write(request: GenerateRequest, deltas: Sequence[Delta], input_tokens: int) -> dict[str, Array]:
    """Output tensors of one response, by name: the text, and of the others what was asked for.

    One entry per completion, but `num_input_tokens`, a scalar. `finish_reason` is the text "None" until the end;
    `logprobs` is JSON per completion, "null" where the request set no `logprobs`.
    """
    before, wanted = request.prompt if request.prepend else "", request.returns
    tensors = {"text_output": _texts([before + delta.text for delta in deltas])}
    if "finish_reason" in wanted:
        tensors["finish_reason"] = _texts([str(delta.finish_reason) for delta in deltas])
    if "cumulative_logprob" in wanted:
        tensors["cumulative_logprob"] = np.asarray([delta.cumulative_logprob for delta in deltas], dtype=np.float32)
    if "logprobs" in wanted:
        tensors["logprobs"] = _texts([json.dumps(delta.logprobs) for delta in deltas])
    if "num_input_tokens" in wanted:
        tensors["num_input_tokens"] = np.asarray(input_tokens, dtype=np.uint32)
    if "num_output_tokens" in wanted:
        tensors["num_output_tokens"] = np.asarray([delta.tokens for delta in deltas], dtype=np.uint32)
    return tensors


def _flag(tensor: Callable[[str], Array | None], name: str) -> bool | None:
    array = tensor(name)
    return None if array is None or not array.size else bool(array.reshape(-1)[0])


def _text(tensor: Callable[[str], Array | None], name: str) -> str | None:
    array = tensor(name)
    if array is None or not array.size:
        return None
    value = array.reshape(-1)[0]
    try:
        return value.decode() if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError:
        raise RequestError(f"{name}: not UTF-8") from None


def _texts(texts: Sequence[str]) -> Array:
    return np.asarray([text.encode() for text in texts], dtype=np.object_)
