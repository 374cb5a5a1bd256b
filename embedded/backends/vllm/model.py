"""Triton's `vllm` backend as a Python-based one, for hosts where the official one is absent.

It serves the same model folders by the same contract (triton-inference-server/vllm_backend, lm_guidance.contract):
engine arguments in `1/model.json`, text in, text out as it is written. The engine is the real AsyncLLM. What this
backend does not know it refuses: a setting that is silently ignored here would do something else on the official one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import triton_python_backend_utils as pb_utils

from contract.stub import corruption
from lm_guidance import contract
from serving import environment
from serving.arguments import EngineArguments
from serving.failure import FailureLog, LoadError

SWITCHES = ("REPORT_CUSTOM_METRICS", "ENABLE_VLLM_HEALTH_CHECK")


def _check_tensors(config: Mapping[str, Any]) -> None:
    for kind, known in (("input", contract.INPUTS), ("output", contract.OUTPUTS)):
        for io in config[kind]:
            name = io["name"]
            if known.get(name) != io["data_type"]:
                raise LoadError(f"{kind} '{name}' of type {io['data_type']}: the vllm backend has "
                                f"{', '.join(f'{each} {known[each]}' for each in known)}")


def _switches(config: Mapping[str, Any]) -> dict[str, bool]:
    given = {key: str(value.get("string_value", "")).lower() for key, value in config.get("parameters", {}).items()}
    if unknown := sorted(set(given) - set(SWITCHES)):
        raise LoadError(f"unknown parameter '{unknown[0]}'; the vllm backend knows {', '.join(SWITCHES)}")
    if wrong := sorted(key for key, text in given.items() if text not in ("true", "false")):
        raise LoadError(f"parameter '{wrong[0]}' must be true or false, not '{given[wrong[0]]}'")
    return {key: given.get(key) == "true" for key in SWITCHES}


class TritonPythonModel:
    """The one instance: an engine and the requests it has in hand."""

    def initialize(self, args: dict[str, str]) -> None:
        """Starts the engine; whatever stands against it fails the load with one line."""
        try:
            self._open(args)
        except LoadError as error:
            raise pb_utils.TritonModelException(f"unable to load model '{args['model_name']}': {error}") from None

    def _open(self, args: dict[str, str]) -> None:
        if problem := corruption(pb_utils):
            raise LoadError(problem)
        config = json.loads(args["model_config"])
        if not pb_utils.using_decoupled_model_transaction_policy(config):
            raise LoadError("model_transaction_policy must be decoupled")
        _check_tensors(config)
        switches = _switches(config)
        failures = FailureLog(os.path.join(os.getcwd(), f"{args['model_name']}.errors.log"))
        environment.prepare(failures)
        arguments = EngineArguments.read(os.path.join(pb_utils.get_model_dir(), "model.json"))
        if arguments.is_on_cpu:
            environment.prepare_cpu()
        # These import vLLM, which reads the environment then.
        from serving import metrics
        from serving.engine import Engine
        from serving.generation import Generations

        told = None
        if switches["REPORT_CUSTOM_METRICS"] and not arguments.values.get("disable_log_stats"):
            told = metrics.create({"model": args["model_name"], "version": args["model_version"]}, arguments.longest)
        self._engine = Engine.start(arguments, failures, told.logger if told else None)
        self._generations = Generations(self._engine, told.count_requests if told else None)
        self._engine.watch(self._generations.fail)

    def execute(self, requests: Sequence[Any]) -> None:
        """Hands the requests to the engine; each answers through its own sender."""
        for request in requests:
            self._generations.begin(request)

    def finalize(self) -> None:
        """Ends the engine's processes at once: vLLM's own shutdown waits five seconds for them."""
        self._generations.close()
        self._engine.end()
