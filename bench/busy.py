"""`make bench ARGS=--busy`: how late the pipeline's loop wakes up while 8 songs with uploads and codes are made."""

import asyncio
import time
from contextlib import aclosing

from bench.scrape import scrape, total
from bench.songs import tones
from embedded.stack_file import StackFile
from frontend.songs.client import SongClient
from frontend.songs.events import Step
from frontend.songs.wire import Floats

LAG = "acestep_event_loop_lag_seconds"


def measure_busy(running: StackFile, rounds: int) -> None:
    """Prints one line; what the histogram's buckets tell of the lag's p99 and its largest value."""
    before = scrape(running.triton_metrics)
    begin = time.perf_counter()
    asyncio.run(_songs(running.triton_grpc, rounds))
    taken = time.perf_counter() - begin
    lags = _grown(before, scrape(running.triton_metrics))
    whole = lags[float("inf")]
    share = 100 * lags[0.005] / whole
    print(f"\n8 songs with uploads and codes at once, {rounds} times, {taken:.0f} s: event-loop lag over {whole:.0f} "
          f"samples: {share:.1f} % within 5 ms, p99 within {1000 * _bound(lags, 0.99):g} ms, "
          f"all within {1000 * _bound(lags, 1.0):g} ms")


def _grown(before: list[tuple[str, str, float]], after: list[tuple[str, str, float]]) -> dict[float, float]:
    """Samples up to each bound."""
    bounds = [labels.split('le="')[1].rstrip('"') for name, labels, _ in after if name == f"{LAG}_bucket"]
    return {float(bound.replace("+Inf", "inf")): total(after, f"{LAG}_bucket", f'le="{bound}"')
            - total(before, f"{LAG}_bucket", f'le="{bound}"') for bound in bounds}


def _bound(lags: dict[float, float], share: float) -> float:
    return min(bound for bound, count in lags.items() if count >= share * lags[float("inf")])


async def _songs(grpc: str, rounds: int) -> None:
    client = SongClient(grpc)
    upload = tones(120)

    async def heard() -> Floats:
        return upload

    async def cover(number: int) -> None:
        song = {"kind": "song", "caption": f"busy {number}", "steps": 8, "task": "cover", "seeds": [number],
                "return": ["latents"]}
        async for _ in client.song(song, audio={"src_audio": heard, "reference_audio": heard}):
            pass

    async def codes(number: int) -> None:
        """As many codes as a request may have; their 80 minutes of music would take too long, so its client leaves."""
        text = [[(item * 97 + code * 7_919) % 64_000 for code in range(3_000)] for item in range(8)]
        song = {"kind": "song", "caption": f"codes {number}", "seeds": list(range(8)), "codes": text,
                "return": ["codes"]}
        async with aclosing(client.song(song)) as events:
            async for event in events:
                if isinstance(event, Step):
                    break

    for _ in range(rounds):
        await asyncio.gather(*((codes if number % 2 else cover)(number) for number in range(8)))
    await client.close()
