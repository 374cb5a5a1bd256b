"""`make bench ARGS=--fair`: a short song's time alone and beside long ones, and what fairness costs in throughput."""

import asyncio
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from embedded.stack_file import StackFile
from frontend.songs.client import SongClient
from frontend.songs.events import Step
from pipeline import facts
from pipeline.accounts import Accounts
from pipeline.denoiser import Denoiser
from pipeline.material import silence, with_mask
from pipeline.models import Condition, DitCall, Floats
from pipeline.noise import draw_normal
from pipeline.schedule import turbo_schedule
from pipeline.track import Course, Stage, Track

SHORT = {"kind": "song", "caption": "short", "seeds": [1], "steps": 8, "duration": 10}
LOAD = (10, 30, 60, 20, 90, 10, 45, 60)  # seconds of songs that come all at once


class OldestFirst(Accounts):
    """The rule before: songs in the order they came."""

    def in_turn(self, tracks: Any) -> list[Any]:
        return list(tracks)


def measure_fair(running: StackFile, rounds: int) -> None:
    """Prints Markdown: ratios of the real stack, then throughput of the step loop by both rules in this process."""
    print("\n| a 10 s song | median s | of its own time | beyond its own, in steps of the other |")
    print("| --- | --- | --- | --- |")
    asyncio.run(_latencies(running.triton_grpc, rounds))
    throughput(Path(running.repository), rounds)


async def _latencies(grpc: str, rounds: int) -> None:
    client = SongClient(grpc)
    for seconds in (60, 600):
        alone, beside, steps = [], [], []
        for _ in range(rounds if seconds == 60 else max(2, rounds // 4)):
            await _timed(client, SHORT)  # behind it the last step of a neighbour that has left is over
            alone.append(await _timed(client, SHORT))
            other = _Neighbour(client, SHORT | {"caption": "long", "duration": seconds})
            await other.until_denoising()
            beside.append(await _timed(client, SHORT))
            steps.append(await other.leave())
        own, taken = statistics.median(alone), statistics.median(beside)
        over = statistics.median((b - a) / s for a, b, s in zip(alone, beside, steps, strict=True))
        ratio = statistics.median(b / a for a, b in zip(alone, beside, strict=True))
        print(f"| alone | {own:.2f} | 1 | |\n| beside one of {seconds} s | {taken:.2f} | {ratio:.2f} "
              f"(largest {max(b / a for a, b in zip(alone, beside, strict=True)):.2f}) | "
              f"{over:.2f} of {statistics.median(steps):.2f} s |", flush=True)
    await client.close()


async def _timed(client: SongClient, song: dict[str, Any]) -> float:
    begin = time.perf_counter()
    async for _ in client.song(song):
        pass
    return time.perf_counter() - begin


class _Neighbour:
    """A long song that is being made; how long its steps take is measured before anyone comes."""

    def __init__(self, client: SongClient, song: dict[str, Any]) -> None:
        self._steps: list[float] = []
        self._task = asyncio.create_task(self._sing(client, song))

    async def _sing(self, client: SongClient, song: dict[str, Any]) -> None:
        async for event in client.song(song):
            if isinstance(event, Step) and event.phase == "denoise":
                self._steps.append(time.perf_counter())

    async def until_denoising(self) -> None:
        """Until its third step has begun."""
        while len(self._steps) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    async def leave(self) -> float:
        """Ends it; seconds of one of its steps."""
        self._task.cancel()
        await asyncio.wait({self._task})
        return self._steps[1] - self._steps[0]


def throughput(repository: Path, rounds: int) -> None:
    """Songs of many lengths at once, to the last one's end, by both rules in turns."""
    served = facts.load(repository / "acestep" / "1" / "models")
    dit = served.dits[served.default]
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        str(repository / f"{dit.name}-dit" / "1" / "model.onnx"), options, providers=["CPUExecutionProvider"])
    width = session.get_inputs()[2].shape[2]

    def track(number: int, seconds: float) -> Track:
        noise = draw_normal(number, "latents", (int(seconds * 25), 64))
        condition = Condition(np.random.default_rng(number).standard_normal((60, width), np.float32))
        stage = Stage(0, condition, with_mask(silence(dit.silence, len(noise))))
        return Track(number, noise, (stage,), Course(turbo_schedule(8, 3.0)), lambda step: None, song=number)

    async def velocity(call: DitCall) -> Floats:
        outputs: list[Floats] = await asyncio.to_thread(session.run, None, vars(call))
        return outputs[0]

    async def load(rule: Callable[[], Accounts]) -> float:
        denoiser = Denoiser(velocity, 4_096, rule())
        tracks = [track(number, seconds) for number, seconds in enumerate(LOAD)]
        begin = time.perf_counter()
        await asyncio.gather(*(denoiser.denoise(each) for each in tracks))
        return time.perf_counter() - begin

    asyncio.run(load(Accounts))
    pairs = [(asyncio.run(load(OldestFirst)), asyncio.run(load(Accounts))) for _ in range(rounds)]
    before, now = (statistics.median(values) for values in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    print(f"\n{len(LOAD)} songs of {min(LOAD)} to {max(LOAD)} s at once, 8 steps each, {rounds} pairs: oldest first "
          f"{before:.2f} s, least served first {now:.2f} s, median ratio {ratio:.3f}")
