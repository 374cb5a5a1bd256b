"""Assembles the one directory that Triton serves: exported graphs, hand-written models, facts, tokenizer."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import contract

from . import facts
from .artifacts import NULL_CONDITION_FILE, PER_DIT, SHARED, SILENCE_FILE, Artifact
from .cache import Cache, link_or_copy
from .digests import contents, digest, sources, stamps, tree
from .errors import ExportError
from .layout import Checkpoints, read_config
from .lm_engines import LmEngines

_RECIPE = ("repository.py", "facts.py", "layout.py", "artifacts.py", "lm_engines.py", "language_model.py")
_CONTRACT = Path(contract.__file__).parent
_KINDS = {"config.pbtxt": "KIND_GPU", "configs/cpu.pbtxt": "KIND_CPU"}
_BATCHING = {"KIND_GPU": "max_batch_size: 8\ndynamic_batching { }", "KIND_CPU": "max_batch_size: 1"}
# ONNX Runtime's arena never gives back what the longest song needed, and takes twice that: it grows by doubling. On a
# CPU the system's allocator is as fast. The key says nothing of the arena of a GPU.
_MEMORY = {"KIND_GPU": "", "KIND_CPU": 'parameters { key: "enable_mem_arena" value: { string_value: "0" } }\n'}
_PIPELINE = "acestep"
_CONDITIONING = "conditioning"


@dataclass(frozen=True)
class Repository:
    """What goes into one assembled repository, and where its parts come from.

    It holds no path of this machine and may be moved. sources: the checkout's model_repository folder. lm None: without
    an LM.
    """

    checkpoints: Checkpoints
    artifacts: tuple[Artifact, ...]
    precision: str
    embedded: bool
    sources: Path
    lm: LmEngines | None = None

    def digest(self) -> str:
        configs = [self.checkpoints.root / name / "config.json" for name in self.checkpoints.models]
        tokenizer = self.checkpoints.text_encoder / "tokenizer.json"
        return digest(
            self.checkpoints.models,
            self.precision,
            self.embedded,
            [artifact.digest() for artifact in self.artifacts],
            stamps([*configs, tokenizer, self.checkpoints.vae / "config.json"]),
            contents(tree(self.sources), self.sources),
            sources(_RECIPE),
            contents(tree(_CONTRACT), _CONTRACT),  # facts and the pipeline say what it says
            None if self.lm is None else self.lm.state(),
        )

    def assemble(self, folder: Path, cache: Cache) -> None:
        """Fills an empty folder; every artifact must be in the cache."""
        results = {artifact.name: cache.root / artifact.digest() for artifact in self.artifacts}
        for name in SHARED:
            self._graph(folder, name, name, results[name], self.checkpoints.models[0])
        for dit in self.checkpoints.models:
            for kind in PER_DIT:
                if kind != "constants":
                    self._graph(folder, f"{dit}-{kind}", kind, results[f"{dit}-{kind}"], dit)
            self._model(folder, f"{dit}-{_CONDITIONING}", _CONDITIONING, dit, only_default=True)
        self._pipeline(folder / _PIPELINE, results)
        if self.lm is not None:
            self.lm.assemble(folder)

    def _graph(self, folder: Path, model: str, template: str, result: Path, dit: str) -> None:
        version = self._model(folder, model, template, dit)
        for file in tree(result):
            if file.name != "manifest.json":
                link_or_copy(file, version / file.name)
        shutil.copyfile(result / "manifest.json", folder / model / "manifest.json")

    def _model(self, folder: Path, model: str, template: str, dit: str, only_default: bool = False) -> Path:
        text = (self.sources / "templates" / f"{template}.pbtxt").read_text(encoding="utf-8")
        for name, kind in _KINDS.items():
            if only_default and name != "config.pbtxt":  # an ensemble runs nowhere itself
                continue
            path = folder / model / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(Template(text).substitute(self._values(model, dit, kind)), encoding="utf-8")
        version = folder / model / "1"
        version.mkdir()
        return version

    def _values(self, model: str, dit: str, kind: str) -> dict[str, Any]:
        config = self.checkpoints.dit(dit)
        return {
            "model": model,
            "dit": dit,
            "kind": kind,
            "batching": _BATCHING[kind],
            "memory": _MEMORY[kind],
            "text_width": config.required("text_hidden_dim"),
            "condition_width": config.condition_width,
            "channels": config.channels,
            "context_channels": int(config.required("in_channels")) - config.channels,
            "audio_channels": read_config(self.checkpoints.vae).get("audio_channels", 2),
        }

    def _pipeline(self, folder: Path, results: Mapping[str, Path]) -> None:
        written = self.sources / _PIPELINE
        if not (written / "config.pbtxt").is_file():
            raise ExportError(f"{written} has no config.pbtxt")
        for file in tree(written):
            target = folder / file.relative_to(written)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        version = folder / "1"
        (version / "tokenizer").mkdir(parents=True)
        shutil.copyfile(self.checkpoints.text_encoder / "tokenizer.json", version / "tokenizer" / "tokenizer.json")
        for dit in self.checkpoints.models:
            models = version / "models" / dit
            models.mkdir(parents=True)
            constants = results[f"{dit}-constants"]
            for name in (SILENCE_FILE, NULL_CONDITION_FILE):
                if (constants / name).is_file():  # a turbo model has no null condition
                    link_or_copy(constants / name, models / name)
            _write_json(models / "facts.json", self._facts(dit, results))
        vae = read_config(self.checkpoints.vae)
        lm = None if self.lm is None else self.lm.facts()
        _write_json(version / "models" / "served.json", facts.served(self.checkpoints.models, self.embedded, vae, lm))
        if self.lm is not None:
            self.lm.add_to_pipeline(version)

    def _facts(self, dit: str, results: Mapping[str, Path]) -> facts.Json:
        config = self.checkpoints.dit(dit)
        aliases = facts.EMBEDDED_ALIASES if self.embedded and config.is_turbo else ()
        return facts.facts(config, dit, aliases, self.precision, _digests(dit, results))


def _digests(dit: str, results: Mapping[str, Path]) -> dict[str, str]:
    """SHA-256 of the checkpoint's weights and of every graph that makes a song with this DiT."""
    manifests = {name: json.loads((path / "manifest.json").read_text()) for name, path in results.items()}
    graphs = {name: manifests[name]["sha256"] for name in SHARED}
    own = {kind: manifests[f"{dit}-{kind}"]["sha256"] for kind in PER_DIT if kind != "constants"}
    weights = manifests[f"{dit}-constants"]["sources"]
    checkpoint = weights.get("model.safetensors") or digest(weights)
    return {"checkpoint": checkpoint, **own, **graphs}


def _write_json(path: Path, value: facts.Json) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
