"""What each field needs to be used: one table, for the notes of a song and for the documentation.

A field that was sent and not used is named in `generation_info`: with the reason, or, where its value is the default's
and changes nothing anyway, in one line with all others of that kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from contract.tasks import TASKS, LmPart, Task
from frontend import musicality
from frontend.audio.pcm import SAMPLE_RATE
from frontend.catalogue import Model
from frontend.defaults import Defaults
from frontend.fields import Field, Fields
from frontend.jobs.job import Upload
from frontend.uploads import Files

from .analysis import Analysis, analysis_of
from .seeds import folded

_TASKS_OF_TRACKS = ("lego", "extract", "complete")
# A song of up to this many samples has less than the 128 latent frames that the DiT sees at least.
FILLED_UP_SAMPLES = 127 * 1_920
# Values that say the same as a field's default.
_NEVER_SAME = ("vocal_language",)
_SAME: Mapping[str, tuple[object, ...]] = {"repainting_end": (0.0, -1.0), "lm_top_k": (0,)}


@dataclass(frozen=True)
class Asked:
    """A request and what became of it.

    `names` are what the client called the fields that it changed, by canonical name; `song` is the pipeline's request,
    `files` are those that came and `uploads` those of them that the song uses.
    """

    names: Mapping[str, str]
    fields: Fields
    song: Mapping[str, Any]
    model: Model
    has_lm: bool
    files: Files
    uploads: Mapping[str, Upload]

    @property
    def task(self) -> Task:
        return TASKS[self.song["task"]]

    @property
    def analysis(self) -> Analysis | None:
        return analysis_of(self.song)

    @property
    def follows_codes(self) -> bool:
        """Given ones, or those that the LM will write."""
        return bool(self.song["codes"] or self.song["thinking"])

    @property
    def follows_something(self) -> bool:
        return self.follows_codes or "src_audio" in self.uploads

    @property
    def keeps_something(self) -> bool:
        """The region leaves some of what the DiT sees out."""
        samples = self.uploads["src_audio"].samples
        start, end = self.song["repaint_start"], self.song["repaint_end"]
        begin = round(start * SAMPLE_RATE)
        last = samples if end is None else round(end * SAMPLE_RATE)
        made = max(samples, last) - min(0, begin)
        # What fills a short song up is kept too, and a mode decides how.
        return begin > 0 or last < samples or made <= FILLED_UP_SAMPLES

    @property
    def is_sampled(self) -> bool:
        """The LM writes the whole song."""
        return bool(self.song["sample_query"] or self.song["sample_mode"])

    @property
    def has_words(self) -> bool:
        return bool(self.song["caption"].strip() or self.song["lyrics"].strip())

    @property
    def is_rewritten(self) -> bool:
        """The LM invents or improves the song, and writes its metadata with that."""
        return self.is_sampled or (self.song["use_format"] != "off" and self.has_words)

    @property
    def lacks_metadata(self) -> bool:
        """There is metadata to fill in."""
        song = self.song
        has_length = song["duration"] or song["codes"] or "src_audio" in self.uploads
        is_complete = song["bpm"] and song["key_scale"] and song["time_signature"] and has_length
        return not is_complete and not self.is_rewritten

    @property
    def lm_writes(self) -> bool:
        """The LM would have something to write."""
        fills_in = self.song["use_cot_metas"] and self.lacks_metadata
        return bool(self.song["thinking"] or self.is_rewritten or fills_in)


@dataclass(frozen=True)
class Need:
    """One thing that a field needs: `when` for the documentation, `reason` for a song that lacks it.

    `reason` may hold {task} and {model}.
    """

    when: str
    is_met: Callable[[Asked], Any]
    reason: str


Needs = tuple[Need, ...]
ALWAYS: Needs = ()
_TILES: Needs = (Need("never", lambda asked: False, "decoding is always by tiles"),)
_NOTHING: Needs = (Need("never", lambda asked: False, "it does nothing here"),)
_MODE_DECIDES: Needs = (Need("never", lambda asked: False, "repaint_mode decides"),)

_STEPS: Needs = (Need("without `timesteps`", lambda asked: asked.song["timesteps"] is None, "timesteps win"),)
_NOT_TURBO = Need(
    "by base models", lambda asked: not asked.model.is_turbo, "{model} is a turbo model, without guidance")
_GUIDED: Needs = (_NOT_TURBO, Need(
    "with `guidance_scale` above 1", lambda asked: asked.song["guidance_scale"] > 1, "guidance_scale is not above 1"))
_CORRECTED = Need("with `dcw_enabled`", lambda asked: asked.song["dcw_enabled"], "dcw_enabled is false")

_NOT_CODES = Need(
    "without `extract_codes_only`", lambda asked: not asked.fields["extract_codes_only"], "extract_codes_only wins")
_NOT_FULL = Need(
    "without `full_analysis_only`", lambda asked: not asked.fields["full_analysis_only"], "full_analysis_only wins")

_SOURCE: Needs = (
    Need("without audio codes", lambda asked: not asked.song["codes"], "the audio codes win"),
    Need("by tasks with a source", lambda asked: asked.analysis or asked.task.needs_source, "{task} follows none"),
)
_REGION = Need("by repaint and lego", lambda asked: asked.task.has_region, "{task} has no region")
# A song that follows audio codes is a cover of them.
_KEEPING: Needs = (_REGION, Need(
    "where some of the source is kept", lambda asked: asked.keeps_something, "nothing of the source is kept"))
_COVERED = Need("by cover and cover-nofsq, and with audio codes", lambda asked: asked.follows_codes
                or asked.task.starts_at_source, "{task} begins with noise")
_TRACKS: Needs = (
    Need("by lego, extract, complete; by an `instruction` with `{TRACK_NAME}` or `{TRACK_CLASSES}`",
         lambda asked: asked.song["instruction"] or asked.task.name in _TASKS_OF_TRACKS, "{task} has no tracks"),
    Need("", lambda asked: not asked.song["instruction"] or "{TRACK_" in asked.song["instruction"],
         "instruction has no place for it"),
)

_TASK_WITH_LM = Need(
    "by text2music, lego, complete", lambda asked: asked.task.lm is not LmPart.NOTHING, "{task} uses no LM")
_LOADED = Need("", lambda asked: asked.has_lm, "no LM is loaded")
_LM: Needs = (_TASK_WITH_LM, _LOADED)
_WRITING: Needs = (*_LM, Need(
    "where the LM has something to write", lambda asked: asked.lm_writes, "the LM has nothing to write"))
_PICKING: Needs = (*_WRITING, Need(
    "with `lm_temperature` above 0", lambda asked: asked.song["lm_temperature"] > 0, "lm_temperature is 0"))
_WRITING_CODES: Needs = (*_LM, Need(
    "where the LM writes audio codes", lambda asked: asked.song["thinking"], "the LM writes no audio codes"))
_FILLING: Needs = (*_LM, Need(
    "where the LM fills in metadata", lambda asked: asked.lacks_metadata, "the LM fills in no metadata"))
_COT: Needs = (*_FILLING, Need("", lambda asked: asked.song["use_cot_metas"], "use_cot_metas is false"))


def _keeps_language(asked: Asked) -> bool:
    """A wish that names a language wins over those that clients send without meaning them."""
    return asked.song["vocal_language"] in (None, asked.fields["vocal_language"])


def _came_by_path(field: str) -> Need:
    path = f"{field}_path"
    return Need(f"without a file `{field}`", lambda asked: asked.files.called(field) == asked.fields.sent[path],
                "the uploaded file wins")


# Every field of a song, and the files; those of the chat API go by the native names of the same.
USES: Mapping[str, Needs] = {
    **dict.fromkeys((
        "caption", "audio_format", "model", "bpm", "key_scale", "time_signature", "use_random_seed", "batch_size",
        "infer_method", "velocity_norm_threshold", "velocity_ema_factor", "dcw_enabled", "latent_shift",
        "latent_rescale", "task_type", "instruction", "chunk_mask_mode", "reference_audio", "stream", "n",
        "instrumental",
    ), ALWAYS),
    "use_tiled_decode": _TILES,
    **dict.fromkeys(("constrained_decoding_debug", "is_format_caption"), _NOTHING),
    "lyrics": (Need("unless `instrumental` is asked for", lambda asked: not asked.song["instrumental"]
                    or musicality.is_instrumental(asked.song["lyrics"]), "the song is instrumental"),),
    "thinking": (Need("by text2music, and with given audio codes", lambda asked: asked.song["codes"]
                      or asked.task.lm is LmPart.CODES, "{task} follows its source"),),
    "vocal_language": (Need("unless it is `en` or `unknown` and `sample_query` names another", _keeps_language,
                            "sample_query names another"),),
    "sample_query": (_TASK_WITH_LM,),
    "sample_mode": (_TASK_WITH_LM, Need(
        "without `sample_query`", lambda asked: "sample_query" not in asked.names, "sample_query says more")),
    "use_format": (
        _TASK_WITH_LM,
        Need("without `sample_query` and `sample_mode`", lambda asked: not asked.is_sampled,
             "the LM writes the whole song"),
        Need("with a caption or lyrics", lambda asked: asked.has_words, "there is no caption and no lyrics")),
    "audio_duration": (Need("without a source", lambda asked: "src_audio" not in asked.uploads,
                            "{task} has its source's length"),),
    "audio_code_string": (Need("with `thinking`", lambda asked: asked.song["codes"], "it needs thinking=true"),),
    "inference_steps": _STEPS, "shift": _STEPS, "timesteps": ALWAYS,
    "guidance_scale": (_NOT_TURBO,),
    **dict.fromkeys(("use_adg", "cfg_interval_start", "cfg_interval_end"), _GUIDED),
    "seed": (Need("unless `use_random_seed` is true", lambda asked: not asked.fields["use_random_seed"],
                  "use_random_seed is true"),),
    "sampler_mode": (Need("with `infer_method` ode", lambda asked: asked.song["infer_method"] == "ode",
                          "infer_method sde is always euler"),),
    "dcw_mode": (_CORRECTED,), "dcw_scaler": (_CORRECTED,),
    "dcw_high_scaler": (_CORRECTED, Need(
        "with `dcw_mode` double", lambda asked: asked.song["dcw_mode"] == "double", "dcw_mode is not double")),
    "dcw_wavelet": (_CORRECTED, Need(
        "with another `dcw_mode` than pix", lambda asked: asked.song["dcw_mode"] != "pix", "dcw_mode is pix")),
    **dict.fromkeys(("lm_model_path", "lm_backend", "lm_temperature", "lm_repetition_penalty", "constrained_decoding"),
                    _WRITING),
    "lm_top_k": _PICKING, "lm_top_p": _PICKING,
    "lm_cfg_scale": _WRITING_CODES,
    "lm_negative_prompt": (*_WRITING_CODES, Need(
        "with `lm_cfg_scale` above 1", lambda asked: asked.song["lm_cfg_scale"] > 1, "lm_cfg_scale is not above 1")),
    "use_cot_metas": _FILLING,
    "use_cot_caption": _COT,
    "use_cot_language": (*_COT, Need("without `vocal_language`", lambda asked: asked.song["vocal_language"] is None,
                                     "vocal_language is given")),
    "src_audio": _SOURCE,
    "src_audio_path": (_came_by_path("src_audio"), *_SOURCE),
    "reference_audio_path": (_came_by_path("reference_audio"),),
    "repainting_start": (_REGION,), "repainting_end": (_REGION,), "repaint_mode": _KEEPING,
    "repaint_strength": (*_KEEPING, Need("with `repaint_mode` balanced", lambda asked: asked.song["repaint_mode"]
                                       == "balanced", "repaint_mode is not balanced")),
    "repaint_latent_crossfade_frames": _MODE_DECIDES, "repaint_wav_crossfade_sec": _MODE_DECIDES,
    "audio_cover_strength": (
        Need("with a source or audio codes", lambda asked: asked.follows_something, "{task} follows no audio codes"),
        Need("not by repaint", lambda asked: asked.follows_codes or asked.task.ends_source,
             "{task} follows its source to the end")),
    "cover_noise_strength": (_COVERED,),
    "global_caption": (
        Need("by models that were trained for it", lambda asked: asked.model.is_lego_sft,
             "{model} was not trained for it"),
        Need("without an `instruction` for a segment",
             lambda asked: "a segment" not in asked.song["instruction"].lower(), "instruction is for a segment")),
    "track_name": _TRACKS, "track_classes": _TRACKS,
    "extract_codes_only": ALWAYS, "full_analysis_only": (_NOT_CODES,), "analysis_only": (_NOT_CODES, _NOT_FULL),
}


def when(name: str) -> str:
    """In words, when a field is used."""
    return "; ".join(need.when for need in USES[name] if need.when) or "always"


def changed(table: Iterable[Field], fields: Fields, defaults: Defaults) -> dict[str, str]:
    """What the client called the fields of `table` that it sent with another value than the default's.

    A language is one that it chose, also where it is the default's: without it the LM chooses.
    """
    default = {entry.name: defaults.fields.get(entry.name, entry.default) for entry in table}
    return {name: sent for name, sent in fields.sent.items()
            if name in _NEVER_SAME or (fields[name] != default[name] and fields[name] not in _SAME.get(name, ()))}


def unused(asked: Asked) -> Iterator[str]:
    """A line for each file and field that the song does not use or takes for another value, one for those at defaults.

    What a chat message says is no field, but for the lyrics that an instrumental song does without.
    """
    uploaded = {field: asked.files.called(field) for field in asked.files.uploads}
    names = {field: called for field, called in uploaded.items() if called != asked.fields.sent.get(f"{field}_path")}
    for name, called in {**names, **asked.names}.items():
        if (lacking := _lacking(name, asked)) is not None:
            yield f"{called} was not used: {lacking.reason.format(task=asked.task.name, model=asked.model.name)}"
    for called in asked.files.strangers:
        yield f"{called} was not used: no file has that name"
    said = asked.fields.sent.get("lyrics") == "messages"
    if said and "lyrics" not in asked.names and (lacking := _lacking("lyrics", asked)) is not None:
        yield f"lyrics were not used: {lacking.reason}"
    count = asked.fields["batch_size"]
    if "seed" in asked.names and _lacking("seed", asked) is None and len(asked.fields["seed"]) > count:
        yield f"{asked.names['seed']} was used in part: {len(asked.fields['seed'])} seeds for {count} songs"
    same = [called for name, called in asked.fields.sent.items()
            if name not in asked.names and called != "messages" and _lacking(name, asked) is not None]
    if same:
        yield f"not used, and at their defaults: {', '.join(same)}"
    if asked.fields.unbuilt:
        yield f"not served, and at values that change nothing: {', '.join(asked.fields.unbuilt)}"
    yield from folded(asked.fields)
    yield from asked.fields.notes


def _lacking(name: str, asked: Asked) -> Need | None:
    """What the song lacks of what the field needs; an analysis has no use for most of them."""
    if asked.analysis is not None and name not in asked.analysis.uses:
        return Need("", lambda asked: False, f"{asked.analysis.field} has no use for it")
    return next((need for need in USES[name] if not need.is_met(asked)), None)
