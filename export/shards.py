"""Which safetensors files hold a folder's tensors: one, or the shards that an index lists. Reads JSON only."""

import json
from pathlib import Path

from .errors import ExportError


def weight_files(folder: Path, stem: str) -> list[Path]:
    """The safetensors files of a folder; ExportError names the one that is missing."""
    single = folder / f"{stem}.safetensors"
    if single.is_file():
        return [single]
    index = index_file(folder, stem)
    if not index.is_file():
        raise ExportError(f"{folder} has no {single.name} (nor {index.name})")
    shards = [folder / name for name in sorted(set(weight_map(folder, stem).values()))]
    for shard in shards:
        if not shard.is_file():
            raise ExportError(f"{folder} lacks the shard {shard.name} that {index.name} lists")
    return shards


def index_file(folder: Path, stem: str) -> Path:
    return folder / f"{stem}.safetensors.index.json"


def weight_map(folder: Path, stem: str) -> dict[str, str]:
    """Key -> name of its shard in the folder, from the index."""
    index = index_file(folder, stem)
    try:
        found = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return {str(key): Path(name).name for key, name in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(f"{index} is not a safetensors index: {error!r}") from None
