"""Tensors of a checkpoint folder: one safetensors file, or the shards that its index lists."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from .errors import ExportError
from .shards import index_file, weight_files, weight_map


@dataclass(frozen=True)
class Weights:
    """Where each tensor of a folder is, and its shape; nothing is read before `read`."""

    folder: Path
    files: dict[str, Path]
    shapes: dict[str, tuple[int, ...]]

    @classmethod
    def open(cls, folder: Path, stem: str = "model") -> "Weights":
        """Looks into `<stem>.safetensors` or `<stem>.safetensors.index.json`; ExportError names what is missing."""
        files: dict[str, Path] = {}
        shapes: dict[str, tuple[int, ...]] = {}
        shards = weight_files(folder, stem)
        for shard in shards:
            with _opened(shard) as tensors:
                for key in tensors.keys():  # noqa: SIM118  (a safetensors handle, not a dict)
                    files[key] = shard
                    shapes[key] = tuple(tensors.get_slice(key).get_shape())
        if index_file(folder, stem).is_file():
            _check_index(folder, stem, files)
        return cls(folder, files, shapes)

    def read(self, keys: list[str]) -> Iterator[tuple[str, torch.Tensor]]:
        """The named tensors, one at a time, each shard opened once."""
        for shard in sorted({self.files[key] for key in keys}):
            with _opened(shard) as tensors:
                for key in keys:
                    if self.files[key] == shard:
                        yield key, tensors.get_tensor(key)


def _check_index(folder: Path, stem: str, files: dict[str, Path]) -> None:
    for key, name in weight_map(folder, stem).items():
        if key not in files:
            raise ExportError(f"{folder / name} lacks the key {key} that the index says it has")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        handle = safe_open(path, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise ExportError(f"{path} is not a readable safetensors file: {error}") from None
    with handle as tensors:
        yield tensors
