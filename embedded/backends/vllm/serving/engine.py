"""One vLLM engine: its event loop, its processes, its life and its end."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from typing import Any

import triton_python_backend_utils as pb_utils
from vllm import AsyncEngineArgs, RequestOutput, SamplingParams
from vllm.renderers.inputs.preprocess import parse_model_prompt
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.metrics.loggers import StatLoggerFactory

from serving import processes
from serving.arguments import EngineArguments
from serving.failure import FailureLog, LoadError

KILL_TIMEOUT = 2.0


class Engine:
    """A running engine; everything asynchronous of it runs on `loop`, in a thread of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, client: AsyncLLM) -> None:
        self.loop = loop
        self._client = client
        self._ended = False

    @classmethod
    def start(
        cls, arguments: EngineArguments, failures: FailureLog, logger: StatLoggerFactory | None
    ) -> Engine:
        """The engine, ready to generate; LoadError with the reason if it does not start, and nothing of it is left."""
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, name="engine loop", daemon=True).start()
        try:
            client = asyncio.run_coroutine_threadsafe(_start(arguments, logger), loop).result()
        except Exception as error:  # vLLM's checks raise whatever they like
            _end()
            raise LoadError(arguments.explain(failures.reason(error))) from None
        return cls(loop, client)

    def run(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        """Starts a coroutine on the engine's loop, from any thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    async def generate(self, prompt: str, params: SamplingParams, request_id: str) -> AsyncIterator[RequestOutput]:
        """The engine's answers to one prompt; closing the iterator early aborts the request."""
        renderer = self._client.renderer
        (rendered,) = await renderer.render_cmpl_async([parse_model_prompt(self._client.model_config, prompt)])
        async for output in self._client.generate(rendered, params, request_id):
            yield output

    def watch(self, fail: Callable[[], None]) -> None:
        """When one of the engine's processes dies: tells the requests by `fail`, then ends this process.

        An engine cannot be mended, and a stub that lives looks healthy to Triton; a dead one can be replaced.
        """
        pids = processes.below(os.getpid())
        threading.Thread(target=self._watch, args=(pids, fail), name="engine watch", daemon=True).start()

    def _watch(self, pids: list[int], fail: Callable[[], None]) -> None:
        dead = processes.wait_for_a_death(pids)
        if self._ended:
            return
        pb_utils.Logger.log_error(f"the LM engine died (process {dead}): ending the stub")
        fail()
        processes.kill_below(os.getpid(), KILL_TIMEOUT)
        os._exit(1)

    def end(self) -> None:
        """Kills the engine's processes, waits until they are gone, and spares this one its long way out."""
        self._ended = True
        _end()


def _end() -> None:
    logging.disable()  # what vLLM has to say of its end is no news
    processes.kill_below(os.getpid(), KILL_TIMEOUT)
    atexit.register(os._exit, 0)  # taking vLLM's modules apart takes longer than Triton waits


async def _start(arguments: EngineArguments, logger: StatLoggerFactory | None) -> AsyncLLM:
    # vLLM's own loggers are off: they would count the same things for a Prometheus that nobody asks.
    return AsyncLLM.from_vllm_config(
        AsyncEngineArgs(**arguments.values).create_engine_config(),
        stat_loggers=[logger] if logger else None, disable_log_stats=True,
    )
