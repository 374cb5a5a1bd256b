"""From the fields of a request to the work of a job: what the chosen model, the LM and the uploads make of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from frontend.catalogue import Catalogue, Model
from frontend.defaults import OURS, Defaults
from frontend.errors import RequestError
from frontend.fields import Fields
from frontend.jobs.job import Upload, Work
from frontend.uploads import Files

from .analysis import Analysis, asked_for, narrowed
from .fields import TABLE, read
from .lm import LmWork, choose_lm_work
from .material import Material, choose_length, choose_material, choose_source
from .seeds import Draw, draw_seed, resolve_seeds
from .usage import Asked, changed, unused

_OPTIONS = (
    "sampler_mode", "velocity_norm_threshold", "velocity_ema_factor", "dcw_enabled", "dcw_mode", "dcw_scaler",
    "dcw_high_scaler", "latent_shift", "latent_rescale", "repaint_mode", "repaint_strength",
    "cover_noise_strength", "global_caption",
)


def submission(
    body: Mapping[str, object], catalogue: Catalogue, uploads: Mapping[str, Upload] | None = None,
    draw: Draw = draw_seed, defaults: Defaults = OURS,
) -> Work:
    """The work that `body` and the files that came with it ask for.

    Errors: RequestError 400 naming the field that cannot be served.
    """
    return work_of(read(body), body, catalogue, Files(uploads or {}), draw, defaults)


def work_of(
    fields: Fields, body: Mapping[str, object], catalogue: Catalogue, files: Files, draw: Draw,
    defaults: Defaults,
) -> Work:
    """`submission` of fields that were read already; of `body` only files count that are no uploads."""
    asked = asked_of(fields, body, catalogue, files, draw, defaults)
    return Work(asked.song, fields["audio_format"], tuple(unused(asked)), asked.uploads)


def asked_of(
    fields: Fields, body: Mapping[str, object], catalogue: Catalogue, files: Files, draw: Draw,
    defaults: Defaults,
) -> Asked:
    """The song of `work_of` beside the fields that it was made of. Errors as `submission`."""
    fields = defaults.fill(fields)
    if (analysis := asked_for(fields, catalogue.lm)) is not None:
        return _analysis(analysis, fields, body, catalogue, files, draw, defaults)
    model = _model(fields, catalogue)
    _refuse_task(fields, model, catalogue)
    _check_ranges(fields, model)
    material = choose_material(fields, body, files.uploads)
    lm_work = choose_lm_work(fields, material, catalogue.lm)
    has_text = fields["caption"].strip() or fields["lyrics"].strip()
    if not (has_text or lm_work.writes_the_song or material.follows_something):
        raise RequestError(400, "caption: give a caption, lyrics, sample_query or sample_mode; all are empty")
    song = song_request(fields, model, material, lm_work, draw) | options(fields, defaults)
    names = changed(TABLE, fields, defaults)
    return Asked(names, fields, song, model, catalogue.lm is not None, files, material.uploads)


def _analysis(
    analysis: Analysis, fields: Fields, body: Mapping[str, object], catalogue: Catalogue, files: Files, draw: Draw,
    defaults: Defaults,
) -> Asked:
    """An analysis: the request of a song that has only what the analysis uses, of another kind."""
    used = narrowed(fields, analysis)
    model, called = _model(used, catalogue), fields.called(analysis.field)
    material = choose_source(called if analysis.needs_source else None, body, files.uploads)
    lm_work = choose_lm_work(used, material, catalogue.lm)
    if not analysis.needs_source and not (used["caption"].strip() or used["lyrics"].strip()):
        raise RequestError(400, f"caption: give a caption or lyrics for {called}; both are empty")
    song = song_request(used, model, material, lm_work, draw) | options(used, OURS) | {
        "kind": analysis.kind, "return": ["codes"] if analysis.needs_source else [], **analysis.request}
    return Asked(
        changed(TABLE, fields, defaults), replace(fields, values=used.values), song, model, catalogue.lm is not None,
        files, material.uploads)


def song_request(
    fields: Fields, model: Model, material: Material, lm_work: LmWork, draw: Draw
) -> dict[str, Any]:
    """The pipeline's request (model_repository/acestep/1/request.schema.json) but for `options`."""
    timesteps = fields["timesteps"]
    return {
        "v": 1, "kind": "song", "model": model.name, "task": fields["task_type"],
        "caption": fields["caption"], "lyrics": fields["lyrics"],
        "bpm": fields["bpm"], "key_scale": fields["key_scale"], "time_signature": fields["time_signature"],
        "duration": choose_length(fields, material), "instruction": fields["instruction"],
        "seeds": resolve_seeds(fields, draw),
        "steps": fields["inference_steps"], "shift": fields["shift"],
        "timesteps": None if timesteps is None else list(timesteps), "infer_method": fields["infer_method"],
        "guidance_scale": fields["guidance_scale"], "use_adg": fields["use_adg"],
        "cfg_interval": [fields["cfg_interval_start"], fields["cfg_interval_end"]],
        "codes": [list(codes) for codes in material.codes] or None, "tracks": list(material.tracks),
        "repaint_start": material.region.start, "repaint_end": material.region.end,
        "cover_strength": fields["audio_cover_strength"],
        **lm_work.request, "return": ["codes"] if material.codes or lm_work.request["thinking"] else [],
    }


def options(fields: Fields, defaults: Defaults) -> dict[str, Any]:
    """Upstream's later options of the sampler and of tasks with a source, under the pipeline's names for them."""
    mask = fields["chunk_mask_mode"]
    return {name: fields[name] for name in _OPTIONS} | {
        "sampler_mode": fields["sampler_mode"] if fields["infer_method"] == "ode" else "euler",
        "dcw_wavelet": "haar",
        "chunk_mask_mode": defaults.auto_mask if mask == "auto" else mask,
        "fallback_duration": defaults.fallback_duration,
    }


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


def _check_ranges(fields: Fields, model: Model) -> None:
    """Ranges that depend on the model or on a second field."""
    if model.is_turbo and sum(t > 0 for t in fields["timesteps"] or ()) > model.max_steps:
        name = fields.called("timesteps")
        raise RequestError(400, f"{name}: must have at most {model.max_steps} values above 0 on {model.name}")
    is_corrected = fields["dcw_enabled"] and fields["dcw_mode"] != "pix"
    if is_corrected and fields["dcw_wavelet"] != "haar":
        raise RequestError(400, f"{fields.called('dcw_wavelet')}: must be haar with dcw_enabled; no other is built")
    if fields["cfg_interval_start"] > fields["cfg_interval_end"]:
        name = fields.called("cfg_interval_start")
        raise RequestError(400, f"{name}: must not be above cfg_interval_end, {fields['cfg_interval_end']:g}")
