"""What earlier exports have built goes when nobody needs it, and not before."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from export.cache import Cache
from export.pruning import note, prune

DAY = 86_400


@pytest.fixture
def build(tmp_path: Path) -> tuple[Cache, Cache]:
    return Cache(tmp_path / "repository"), Cache(tmp_path / "graphs")


def used(folder: Path, days_ago: float) -> Path:
    at = time.time() - days_ago * DAY
    os.utime(folder, (at, at))
    return folder


def add(build: tuple[Cache, Cache], name: str, days_ago: float, *digests: str) -> Path:
    repositories, graphs = build
    for digest in digests:
        (graphs.root / digest).mkdir(parents=True, exist_ok=True)
        used(graphs.root / digest, 30)
    folder = repositories.root / name
    (folder / "acestep" / "1").mkdir(parents=True)
    note(folder, digests)
    return used(folder, days_ago)


def left(cache: Cache) -> set[str]:
    names = {path.name for path in cache.root.iterdir()}
    assert {name for name in names if name.startswith(".")} <= {f".{name}.json" for name in names}
    return {name for name in names if not name.startswith(".")}


def test_the_last_three_and_what_they_need_stay(build: tuple[Cache, Cache]) -> None:
    for age in range(10, 15):
        add(build, f"r{age}", age, "shared", f"g{age}")
    prune(*build)
    assert left(build[0]) == {"r10", "r11", "r12"}
    assert left(build[1]) == {"shared", "g10", "g11", "g12"}


def test_what_was_used_this_week_stays(build: tuple[Cache, Cache]) -> None:
    for number in range(5):
        add(build, f"r{number}", number, f"g{number}")
    old = add(build, "old", 8, "g-old")
    note(old, ["g-old"])  # used again
    add(build, "gone", 8, "g-gone")
    used(build[1].root / "g-gone", 1)  # a graph as young as that
    prune(*build)
    assert left(build[0]) == {"r0", "r1", "r2", "r3", "r4", "old"}
    assert left(build[1]) == {"g0", "g1", "g2", "g3", "g4", "g-old", "g-gone"}


def test_what_a_process_works_with_stays(build: tuple[Cache, Cache]) -> None:
    served = add(build, "served", 100, "g-served")
    for age in range(10, 14):
        add(build, f"r{age}", age)
    command = [sys.executable, "-c", "input()", f"{served}/acestep/1/model.py"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as stub:
        prune(*build)
        assert "served" in left(build[0])
        assert left(build[1]) == {"g-served"}
        stub.communicate(b"\n")
    prune(*build)
    assert "served" not in left(build[0])
    assert left(build[1]) == set()


def test_an_older_repository_without_a_note_keeps_the_graphs(build: tuple[Cache, Cache]) -> None:
    for age in range(10, 15):
        add(build, f"r{age}", age, f"g{age}")
    (build[0].root / ".r10.json").unlink()
    prune(*build)
    assert left(build[0]) == {"r10", "r11", "r12"}
    assert left(build[1]) == {f"g{age}" for age in range(10, 15)}
