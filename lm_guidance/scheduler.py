"""Admission of guided rows to vLLM's batch.

Classifier-free guidance runs a song as two requests, a conditional and an unconditional one, that append the same
token at every step. They must be in every batch together: vLLM appends a token to every row that it runs, so a row that
runs one step without the other has left its partner for good. Hence, in front of vLLM's own queue:

    parked      a half whose partner has not come
    queue       units (a pair, or a row alone) in order of arrival
    admitted    units that were handed to the stock scheduler, which starts them in the same step

A unit is handed over when it can start whole and run to its end: seats for all its rows, the tokens of whole prompts,
KV blocks for prompt and max_tokens. The stock scheduler then has no reason to split a prompt, to leave a half out or to
take blocks away from a row that runs. Everything goes through the queue, also requests that are none of ours.
"""

import logging
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from vllm.v1.core.sched.interface import PauseState
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus

from lm_guidance.engine_limits import refuse_unfit
from lm_guidance.recent_ids import RecentIds
from lm_guidance.unit import Unit, spec_of

PATIENCE = 10.0  # seconds that a half waits for its partner
LONGEST_REST = 0.25  # seconds that an engine which waits for partners alone is deaf to other requests
REMEMBERED = 10_000  # pair ids and cancelled songs

log = logging.getLogger(__name__)


class PairScheduler(Scheduler):  # type: ignore[misc]  # mypy does not follow vLLM
    """vLLM's scheduler, with pairs that start together and end together.

    A row that ends for a reason of ours tells its client: "abort" when its song was cancelled, its partner was aborted
    or never came, "error" when the request itself is impossible. ValueError at start if the engine's arguments do not
    allow for pairs.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.num_blocks = self.kv_cache_manager.block_pool.num_gpu_blocks - 1  # one is vLLM's null block
        refuse_unfit(self.vllm_config, self.block_size, self.num_blocks)
        self.parked: dict[str, Unit] = {}
        self.queue: deque[Unit] = deque()
        self.admitted: list[Unit] = []
        self.untold: list[Request] = []  # have ended, their clients do not know
        self.pairs = RecentIds(REMEMBERED)
        self.cancelled = RecentIds(REMEMBERED)

    # Arrival

    def add_request(self, request: Request) -> None:
        spec = spec_of(request.sampling_params)
        if spec is None:
            self.queue.append(Unit([request], None, time.monotonic()))
        elif spec.role == "cancel":
            self._cancel(spec.song)
            self._end([request], RequestStatus.FINISHED_STOPPED)
        elif spec.role == "ask":
            known = any(unit.belongs_to(spec.song) for unit in self._units())
            self._end([request], RequestStatus.FINISHED_STOPPED if known else RequestStatus.FINISHED_ABORTED)
        elif spec.song in self.cancelled:  # the cancel has overtaken it
            self._end([request], RequestStatus.FINISHED_ABORTED)
        elif request.num_prompt_tokens + request.max_tokens > self.max_model_len:
            self._refuse([request], f"prompt and max_tokens exceed max_model_len {self.max_model_len}")
        elif spec.pair is None:
            self.queue.append(Unit([request], spec, time.monotonic()))
        else:
            self._pair_up(Unit([request], spec, time.monotonic()), spec.pair)

    def _pair_up(self, half: Unit, pair: str) -> None:
        first = self.parked.pop(pair, None)
        if first is not None and first.matches(half):
            self.queue.append(Unit(first.requests + half.requests, first.spec, first.since))
        elif first is not None:
            self._refuse(first.requests + half.requests, "the halves of its pair disagree")
        elif pair in self.pairs:
            self._refuse(half.requests, "its pair id has been used before")
        else:
            self.pairs.add(pair)
            self.parked[pair] = half

    # A step

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        self._end_hopeless()
        self._admit()
        self._rest()
        return super().schedule(throttle_prefills)

    def _rest(self) -> None:
        """Sleeps where the step would run no row because nothing but halves waits.

        Such a step costs workers in processes of their own a second of spinning, and this one its time, so they become
        rare: a partner is kept waiting for at most a quarter of the time that it took to come.
        """
        if self.untold or not self.parked or super().has_requests():
            return
        now = time.monotonic()
        arrivals = [unit.since for unit in self.parked.values()]
        left = min(arrivals) + PATIENCE - now
        time.sleep(max(0.0, min((now - max(arrivals)) / 4, LONGEST_REST, left + 0.001)))

    def _admit(self) -> None:
        """Hands over the units at the head of the queue that can start whole in this step and run to their end."""
        if self.pause_state != PauseState.UNPAUSED:
            return
        seats = self.max_num_active_reqs - sum(len(unit.requests) for unit in self.admitted)
        tokens = self.max_num_scheduled_tokens - sum(unit.uncomputed_tokens for unit in self.admitted)
        blocks = self.num_blocks - sum(self._blocks(unit) for unit in self.admitted)
        while self.queue:
            unit = self.queue[0]
            seats -= len(unit.requests)
            tokens -= unit.uncomputed_tokens
            blocks -= self._blocks(unit)
            if min(seats, tokens, blocks) < 0:
                return
            self.admitted.append(self.queue.popleft())
            for request in unit.requests:
                super().add_request(request)

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> dict[int, EngineCoreOutputs]:
        outputs: dict[int, EngineCoreOutputs] = super().update_from_output(scheduler_output, model_runner_output)
        self._end_hopeless()
        for request in self.untold:
            told = EngineCoreOutput(request.request_id, [], finish_reason=request.get_finished_reason())
            outputs.setdefault(request.client_index, EngineCoreOutputs()).outputs.append(told)
        self.untold = []
        return outputs

    # Ends

    def finish_requests(self, request_ids: str | Iterable[str] | None, finished_status: RequestStatus) -> list[Request]:
        """A client has gone, or the engine shuts down: they are not told, but the partners of such rows are."""
        ids = {request_ids} if isinstance(request_ids, str) else None if request_ids is None else set(request_ids)
        held = [
            request
            for unit in (*self.parked.values(), *self.queue)
            for request in unit.requests
            if (ids is None or request.request_id in ids) and not request.is_finished()
        ]
        for request in held:
            request.status = finished_status
        handed_over: list[Request] = super().finish_requests(ids, finished_status)
        return held + handed_over

    def _end_hopeless(self) -> None:
        """Ends rows whose partner has ended and halves whose partner never came. Drops what is over."""
        hopeless = self._given_up() + [unit for unit in (*self.queue, *self.admitted) if unit.broken]
        for unit in hopeless:
            self._end(unit.requests, RequestStatus.FINISHED_ABORTED)
        self.parked = {pair: unit for pair, unit in self.parked.items() if not unit.over}
        self.queue = deque(unit for unit in self.queue if not unit.over)
        self.admitted = [unit for unit in self.admitted if not unit.over]

    def _cancel(self, song: str) -> None:
        self.cancelled.add(song)
        for unit in self._units():
            if unit.belongs_to(song):
                self._end(unit.requests, RequestStatus.FINISHED_ABORTED)

    def _refuse(self, requests: list[Request], why: str) -> None:
        for request in requests:
            log.warning("request %s is refused: %s", request.request_id, why)
        self._end(requests, RequestStatus.FINISHED_ERROR)

    def _end(self, requests: list[Request], status: RequestStatus) -> None:
        """Ends rows in whatever state they are; their clients are told with the next outputs."""
        alive = [request for request in requests if not request.is_finished()]
        super().finish_requests({request.request_id for request in alive}, status)
        for request in alive:
            request.status = status  # also of those that never got as far as the stock scheduler
        self.untold += alive

    # What vLLM asks

    def get_request_counts(self) -> tuple[int, int]:
        running, waiting = super().get_request_counts()
        return running, waiting + sum(len(unit.requests) for unit in self.queue)

    def has_requests(self) -> bool:
        """Whether the engine goes on stepping; if not, it sleeps until a request comes.

        Halves that wait count: an engine that sleeps would never find that one has waited too long.
        """
        return bool(self.untold or self.parked) or super().has_requests()

    def _given_up(self) -> list[Unit]:
        """The parked units that nobody waits for any more."""
        now = time.monotonic()
        return [unit for unit in self.parked.values() if unit.broken or now - unit.since > PATIENCE]

    def _units(self) -> list[Unit]:
        return [*self.parked.values(), *self.queue, *self.admitted]

    def _blocks(self, unit: Unit) -> int:
        return unit.reserved_blocks(self.block_size, self.max_model_len)
