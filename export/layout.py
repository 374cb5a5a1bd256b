"""Upstream's folder layout and what its config.json files say. Reads JSON only: no torch, no weights."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ExportError

TEXT_ENCODER = "Qwen3-Embedding-0.6B"
VAE = "vae"
SILENCE = "silence_latent.pt"
VAE_WEIGHTS = "diffusion_pytorch_model"
LM_PREFIX = "acestep-5Hz-lm"


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a checkpoint folder; ExportError when the folder, the file or its syntax is wrong."""
    if not folder.is_dir():
        raise ExportError(f"{folder} is not a folder" if folder.exists() else f"{folder} does not exist")
    path = folder / "config.json"
    if not path.is_file():
        raise ExportError(f"{folder} has no config.json")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExportError(f"{path} is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise ExportError(f"{path} is not a JSON object")
    return config


@dataclass(frozen=True)
class DitConfig:
    """What config.json of one DiT folder says, upstream's names."""

    folder: Path
    values: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "DitConfig":
        config = cls(folder, read_config(folder))
        for key in ("hidden_size", "num_hidden_layers", "in_channels", "fsq_dim", "text_hidden_dim"):
            config.required(key)
        return config

    def required(self, key: str) -> Any:
        if key not in self.values:
            raise ExportError(f"{self.folder / 'config.json'} lacks {key}")
        return self.values[key]

    @property
    def is_turbo(self) -> bool:
        return bool(self.values.get("is_turbo", "turbo" in str(self.values.get("model_version", ""))))

    @property
    def is_tiny(self) -> bool:
        return bool(self.values.get("tiny", False))

    @property
    def prepends_timbre_token(self) -> bool:
        """True where the timbre encoder reads its learned token before the reference's frames: upstream's XL models.

        The tensors cannot tell: the other models carry the token too and leave it unused. What decides is the code that
        config.json names for the model, or without that an encoder of another width than the DiT's.
        """
        code = self._model_code
        if code is not None:
            return "_xl_" in code
        return self.condition_width != int(self.required("hidden_size"))

    @property
    def _model_code(self) -> str | None:
        """Name of the Python module that holds the model's class, from `auto_map`, where transformers looks for it."""
        auto_map = self.values.get("auto_map")
        named = auto_map.get("AutoModel") if isinstance(auto_map, dict) else None
        if not isinstance(named, str):
            return None
        # "module.Class", or "owner/repository--module.Class" where the code lies in another repository
        return named.rpartition("--")[2].rpartition(".")[0] or None

    @property
    def is_lego_sft(self) -> bool:
        """True for upstream's model fine-tuned on stems, whose lego prompts have a form of their own."""
        return bool(self.values.get("is_lego_sft", False))

    @property
    def condition_width(self) -> int:
        """Width of the condition encoder's output; XL models give it a name of its own."""
        return int(self.values.get("encoder_hidden_size") or self.required("hidden_size"))

    @property
    def channels(self) -> int:
        return int(self.values.get("audio_acoustic_hidden_dim", 64))

    @property
    def patch_size(self) -> int:
        return int(self.values.get("patch_size", 2))

    @property
    def timbre_frames(self) -> int:
        return int(self.values.get("timbre_fix_frame", 750))


@dataclass(frozen=True)
class Checkpoints:
    """A folder of checkpoints and the DiTs chosen from it; the first is the default."""

    root: Path
    models: tuple[str, ...]

    @classmethod
    def choose(cls, root: Path, models: tuple[str, ...] = ()) -> "Checkpoints":
        """The named DiTs, or every DiT below root. ExportError names a folder or file that is missing."""
        if not root.is_dir():
            raise ExportError(f"{root} is not a folder" if root.exists() else f"{root} does not exist")
        found = _dits(root)
        if not models:
            if not found:
                raise ExportError(f"{root} holds no DiT folder (acestep-...)")
            # upstream's own default first
            models = tuple(sorted(found, key=lambda name: (name != "acestep-v15-turbo", "base" in name, name)))
        for name in models:
            if Path(name).name != name:
                raise ExportError(f"{name!r} is not the name of a folder below {root}")
            if not (root / name).is_dir():
                raise ExportError(f"{root / name} does not exist (found there: {', '.join(found) or 'no DiT'})")
        return cls(root, tuple(dict.fromkeys(models)))

    @property
    def vae(self) -> Path:
        return self.root / VAE

    @property
    def text_encoder(self) -> Path:
        return self.root / TEXT_ENCODER

    def dit(self, name: str) -> DitConfig:
        return DitConfig.read(self.root / name)

    def check(self) -> None:
        """Everything needed is there; ExportError names the first thing that is not."""
        configs = [self.dit(name) for name in self.models]
        for config in configs:
            if not (config.folder / SILENCE).is_file():
                raise ExportError(f"{config.folder} has no {SILENCE}")
        vae = read_config(self.vae)
        for key in ("downsampling_ratios", "sampling_rate", "decoder_input_channels"):
            if key not in vae:
                raise ExportError(f"{self.vae / 'config.json'} lacks {key}")
        text = read_config(self.text_encoder)
        for config in configs:
            if text.get("hidden_size") != config.required("text_hidden_dim"):
                raise ExportError(
                    f"{self.text_encoder} has hidden_size {text.get('hidden_size')},"
                    f" but {config.folder.name} was trained with {config.required('text_hidden_dim')}"
                )
        if not (self.text_encoder / "tokenizer.json").is_file():
            raise ExportError(f"{self.text_encoder} has no tokenizer.json")


def _dits(root: Path) -> list[str]:
    names = sorted(path.name for path in root.iterdir() if (path / "config.json").is_file())
    return [name for name in names if name.startswith("acestep-") and not name.startswith(LM_PREFIX)]
