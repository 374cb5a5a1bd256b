"""The models that can be asked for, as the pipeline's `describe` reports them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Model:
    """One DiT: what requests may ask of it, and what its audio is.

    `is_lego_sft`: it was trained to make tracks that fit a caption of the whole song.
    """

    name: str
    aliases: tuple[str, ...]
    is_turbo: bool
    tasks: tuple[str, ...]
    max_steps: int
    audio_is_noise: bool
    is_lego_sft: bool

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Model:
        return cls(
            name=facts["name"], aliases=tuple(facts["aliases"]), is_turbo=facts["is_turbo"],
            tasks=tuple(facts["tasks"]), max_steps=facts["steps"]["max"],
            audio_is_noise=facts["audio_is_noise"], is_lego_sft=facts.get("is_lego_sft", False),
        )

    def triton_models(self) -> tuple[str, ...]:
        """The Triton models that exist for this DiT alone."""
        return tuple(f"{self.name}-{part}" for part in ("dit", "condition", "conditioning", "tokenize", "detokenize"))


SHARED_TRITON_MODELS = ("text_encoder", "lyric_embedding", "vae_decoder", "vae_encoder", "acestep")
ENGINES = {"vllm": "lm", "pt": "lm_pt"}  # of the LM: their Triton models, in the order they are loaded
# The embedded checkpoint's LM answers to the documents' default name too, so that their examples run.
_EMBEDDED_LM_ALIASES = ("acestep-5Hz-lm-0.6B",)


def engines_of(backend: str) -> tuple[str, ...]:
    """Those that ACESTEP_LM_BACKEND asks for: one by name, or `both`."""
    return tuple(engine for engine in ENGINES if backend in (engine, "both"))


@dataclass(frozen=True)
class Lm:
    """The 5 Hz LM: `duration_max` is the longest song in seconds that it may choose, `engines` those that run it.

    The first engine is the one for requests that name none.
    """

    name: str
    aliases: tuple[str, ...]
    duration_max: float
    engines: tuple[str, ...]

    def triton_models(self) -> tuple[str, ...]:
        """Its Triton models. Songs that need no LM do without."""
        return tuple(ENGINES[engine] for engine in self.engines)


@dataclass(frozen=True)
class Catalogue:
    """Everything a `describe` event says; `capacity` is the number of songs that the pipeline takes at a time.

    `lm` is None where songs are made without one.
    """

    models: tuple[Model, ...]
    default: str
    capacity: int
    lm: Lm | None

    @classmethod
    def from_describe(cls, event: Mapping[str, Any], engines: Sequence[str] = ("vllm",)) -> Catalogue:
        """`engines` of ENGINES are those that the LM runs on here, which the pipeline does not know."""
        models = tuple(Model.from_facts(facts) for facts in event["models"])
        aliases = _EMBEDDED_LM_ALIASES if event["embedded"] else ()
        facts = event["lm"]
        lm = None if facts is None else Lm(facts["name"], aliases, facts["duration_max"], tuple(engines))
        return cls(models, event["default"], event["capacity"], lm)

    @property
    def engines(self) -> tuple[str, ...]:
        """Those of ENGINES that the LM runs on here; none without an LM."""
        return () if self.lm is None else self.lm.engines

    def find(self, name: str | None) -> Model | None:
        """The model with that name or alias; None asks for the default one."""
        wanted = self.default if name is None else name
        exact = (model for model in self.models if model.name == wanted)
        return next(exact, None) or next((model for model in self.models if wanted in model.aliases), None)

    def triton_models(self) -> tuple[str, ...]:
        """All Triton models that songs without the LM need."""
        return SHARED_TRITON_MODELS + tuple(name for model in self.models for name in model.triton_models())
