"""From the fields of a request to the work of a job: what needs the chosen model's facts, and what is not built yet."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from frontend import musicality
from frontend.catalogue import Catalogue, Model
from frontend.errors import RequestError
from frontend.jobs.job import Work

from .fields import Fields, read

NEEDS_LM = "needs the 5 Hz LM, which is not loaded (LM=none)"
Draw = Callable[[], int]


def draw_seed() -> int:
    """A random seed, 0 to 2^32-1."""
    return secrets.randbits(32)


def submission(body: Mapping[str, object], catalogue: Catalogue, draw: Draw = draw_seed) -> Work:
    """The work that `body` asks for; RequestError 400 names the field that cannot be served."""
    fields = read(body)
    model = _model(fields, catalogue)
    _refuse_task(fields, model, catalogue)
    _refuse_unbuilt(fields, model)
    _check_ranges(fields, model)
    if not fields["caption"].strip() and not fields["lyrics"].strip():
        raise RequestError(400, "caption: give a caption or lyrics; both are empty")
    return Work(song_request(fields, model, draw), fields["audio_format"], _notes(fields))


def song_request(fields: Fields, model: Model, draw: Draw) -> dict[str, Any]:
    """The pipeline's request (model_repository/acestep/1/request.schema.json), every field present."""
    timesteps = fields["timesteps"]
    return {
        "v": 1, "kind": "song", "model": model.name, "task": fields["task_type"],
        "caption": fields["caption"], "lyrics": fields["lyrics"], "vocal_language": fields["vocal_language"],
        "instrumental": musicality.is_instrumental(fields["lyrics"]),
        "bpm": fields["bpm"], "key_scale": fields["key_scale"], "time_signature": fields["time_signature"],
        "duration": fields["audio_duration"], "instruction": fields["instruction"],
        "seeds": resolve_seeds(fields, draw),
        "steps": fields["inference_steps"], "shift": fields["shift"],
        "timesteps": None if timesteps is None else list(timesteps), "infer_method": fields["infer_method"],
        # Without guidance a base model runs at scale 1; a turbo model has guidance distilled in and ignores the value.
        "guidance_scale": fields["guidance_scale"] if model.is_turbo else min(fields["guidance_scale"], 1.0),
        "use_adg": False, "cfg_interval": [fields["cfg_interval_start"], fields["cfg_interval_end"]], "return": [],
    }


def resolve_seeds(fields: Fields, draw: Draw) -> list[int]:
    """One seed per item: seed + i for a single one, the listed ones for a list; -1 and missing ones are drawn."""
    count = fields["batch_size"]
    given = (-1,) if fields["use_random_seed"] else fields["seed"]
    if len(given) == 1 and given[0] >= 0:
        return [(given[0] + i) % 2**32 for i in range(count)]
    padded = (*given, *(-1 for _ in range(count)))[:count]
    return [draw() if seed < 0 else seed for seed in padded]


def _model(fields: Fields, catalogue: Catalogue) -> Model:
    model = catalogue.find(fields["model"])
    if model is None:
        names = ", ".join(known.name for known in catalogue.models)
        raise RequestError(400, f"{fields.called('model')}: must be one of {names}")
    return model


def _refuse_task(fields: Fields, model: Model, catalogue: Catalogue) -> None:
    task, name = fields["task_type"], fields.called("task_type")
    if task not in model.tasks:
        able = [known.name for known in catalogue.models if task in known.tasks]
        hint = f"; these models can: {', '.join(able)}" if able else "; no model served here can"
        raise RequestError(400, f"{name}: {task} is not a task of {model.name}{hint}")
    if task != "text2music":
        raise RequestError(400, f"{name}: {task} is not built yet; only text2music is")


def _refuse_unbuilt(fields: Fields, model: Model) -> None:
    """400 for what would change the song but cannot be done yet; never silence."""
    if fields["thinking"] and fields["audio_code_string"]:
        raise RequestError(400, f"{fields.called('audio_code_string')}: audio codes are not built yet")
    for name in ("thinking", "sample_query", "sample_mode", "use_format", "lm_model_path"):
        if fields[name]:
            raise RequestError(400, f"{fields.called(name)}: {NEEDS_LM}")
    if fields["lm_backend"] != "vllm":
        raise RequestError(400, f"{fields.called('lm_backend')}: {NEEDS_LM}")
    for name in ("reference_audio_path", "src_audio_path"):
        if fields[name]:
            raise RequestError(400, f"{fields.called(name)}: audio input is not built yet")
    if fields["infer_method"] != "ode":
        raise RequestError(400, f"{fields.called('infer_method')}: sde is not built yet; use ode")
    if not model.is_turbo and "guidance_scale" in fields.sent and fields["guidance_scale"] > 1:
        raise RequestError(400, f"{fields.called('guidance_scale')}: above 1 is not built yet on base models")
    if not model.is_turbo and fields["use_adg"]:
        raise RequestError(400, f"{fields.called('use_adg')}: is not built yet")


def _check_ranges(fields: Fields, model: Model) -> None:
    """Ranges that depend on the model or on a second field."""
    steps, name = fields["inference_steps"], fields.called("inference_steps")
    if steps is not None and steps > model.max_steps:
        raise RequestError(400, f"{name}: must be between 1 and {model.max_steps} on {model.name}")
    if model.is_turbo and sum(t > 0 for t in fields["timesteps"] or ()) > model.max_steps:
        name = fields.called("timesteps")
        raise RequestError(400, f"{name}: must have at most {model.max_steps} values above 0 on {model.name}")
    if fields["cfg_interval_start"] > fields["cfg_interval_end"]:
        name = fields.called("cfg_interval_start")
        raise RequestError(400, f"{name}: must not be above cfg_interval_end, {fields['cfg_interval_end']:g}")
    end = fields["repainting_end"]
    if end is not None and end != -1 and end <= fields["repainting_start"]:
        raise RequestError(400, f"{fields.called('repainting_end')}: must be -1 or above repainting_start")


def _notes(fields: Fields) -> tuple[str, ...]:
    """What was asked for and left out, as a line of generation_info."""
    if fields["use_cot_caption"] or fields["use_cot_language"]:
        return ("5 Hz LM: not loaded (LM=none); caption, language and missing metadata were left as given",)
    return ()
