"""The fields of POST /v1/music/generate: one table of names, places, readers and defaults.

The top level of the body beats the nested metadata object, field by field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from contract.tasks import TASKS
from frontend import coerce, metadata
from frontend.audio.formats import DEFAULT_FORMAT, SONG_FORMATS
from frontend.coerce import Reader
from frontend.fields import Field, Fields, Level, is_blank, object_in, places, spellings
from frontend.unbuilt import read_built

NESTED_OBJECTS = spellings("metas meta metadata user_metadata")


def _field(names: str, read: Reader, default: Any, text: str, *, nested: bool = False) -> Field:
    return Field(spellings(names), read, default, nested, text)


def _nested(names: str, read: Reader, default: Any, text: str) -> Field:
    return _field(names, read, default, text, nested=True)


TABLE: tuple[Field, ...] = (
    _nested("caption prompt", coerce.text(2000), "", "what the music is like"),
    _nested("lyrics", coerce.text(8000), "", "what is sung, with section tags; `[inst]` for an instrumental"),
    _nested("instrumental", coerce.flag, False, "no voice, whatever the lyrics"),
    _field("thinking", coerce.flag, False, "follow audio codes: those of the 5 Hz LM, or given ones"),
    _nested("vocal_language vocalLanguage language", metadata.language, "en",
            "language of the lyrics; one that is not sent is the 5 Hz LM's to choose"),
    _field("audio_format", coerce.choice(*SONG_FORMATS), DEFAULT_FORMAT, "format of the files"),
    _nested("sample_mode", coerce.flag, False, "the 5 Hz LM invents everything"),
    _nested("sample_query sampleQuery description desc", coerce.text(2000, trim=True), "",
            "the song in plain words; the 5 Hz LM makes caption, lyrics and metadata of it"),
    _nested("use_format useFormat format", coerce.flag, False, "the 5 Hz LM improves caption and lyrics"),
    _nested("model dit_model ditModel", coerce.text(200, trim=True), None, "name of a model, from `/v1/models`"),
    _nested("bpm", metadata.bpm, None, "beats per minute"),
    _nested("key_scale keyscale keyScale", metadata.key_scale, "", "key, such as `C major`, `Am` or `F#m`"),
    _nested("time_signature timesignature timeSignature", metadata.time_signature, "", "beats of a bar; 6 is 6/8"),
    _nested("audio_duration duration audioDuration target_duration targetDuration", metadata.duration, None, "seconds"),
    _nested("audio_code_string audioCodeString audio_codes", coerce.codes, (),
            "`<|audio_code_N|>` tokens, five a second; a list has one text for each item"),
    _nested("inference_steps", coerce.whole(1, 200), None, "DiT steps; turbo models make at most 20, 8 unless said"),
    _nested("guidance_scale", coerce.number(0, 30), 7.0, "strength of classifier-free guidance; base models"),
    _nested("use_random_seed", coerce.flag, True, "draw the seeds; false: use `seed`"),
    _field("seed seed_value", coerce.seeds, (-1,),
           "seed of the first item, the others get seed + i; or one for each; -1 is drawn; modulo 2^32"),
    _field("batch_size", coerce.whole(1, 8), 2, "songs"),
    _nested("shift", coerce.number(1, 5), 3.0, "shift of the timesteps; turbo models snap to 1, 2, 3"),
    _nested("infer_method", coerce.choice("ode", "sde"), "ode", "solver: deterministic or stochastic"),
    _nested("sampler_mode", coerce.choice("euler", "heun"), "euler",
            "order of the ode solver; heun evaluates the DiT twice a step"),
    _nested("velocity_norm_threshold", coerce.number(0, 10), 0.0,
            "bounds a velocity's norm by this many times the latents'; 0 is off"),
    _nested("velocity_ema_factor", coerce.number(0, 1), 0.0,
            "share of the previous step's velocity in this one's; 0 is off"),
    _nested("dcw_enabled", coerce.flag, False, "differential correction in the wavelet domain after every step"),
    _nested("dcw_mode", coerce.choice("low", "high", "double", "pix"), "double",
            "bands that are corrected; pix: the latents themselves"),
    _nested("dcw_scaler", coerce.number(0, 1), 0.05, "strength of the correction; with mode double of the low band"),
    _nested("dcw_high_scaler", coerce.number(0, 1), 0.02, "strength in the high band with mode double"),
    _nested("dcw_wavelet", coerce.wavelet, "haar", "basis of the bands"),
    _nested("latent_shift", coerce.number(-10, 10), 0.0, "added to the finished latents"),
    _nested("latent_rescale", coerce.number(0.1, 10), 1.0, "what the finished latents are multiplied by, before that"),
    _field("timesteps", coerce.timesteps, None,
           "decreasing values in (0, 1], instead of `inference_steps` and `shift`"),
    _field("use_adg", coerce.flag, False, "adaptive dual guidance; base models"),
    _field("cfg_interval_start", coerce.number(0, 1), 0.0, "guidance begins at this t"),
    _field("cfg_interval_end", coerce.number(0, 1), 1.0, "guidance ends at this t"),
    _nested("use_tiled_decode", coerce.flag, True, "accepted; decoding is always by tiles"),
    _field("lm_model_path lm_model", coerce.text(200, trim=True), None, "name of the 5 Hz LM; the one that is loaded"),
    _field("lm_backend", coerce.choice("vllm", "pt"), "vllm", "engine of the 5 Hz LM"),
    _field("lm_temperature", coerce.number(0, 2), 0.85, "of the 5 Hz LM; 0 picks the likeliest"),
    _field("lm_cfg_scale", coerce.number(0, 10), 2.5, "guidance of the 5 Hz LM"),
    _field("lm_negative_prompt", coerce.text(2000), "NO USER INPUT", "what the 5 Hz LM is guided away from"),
    _field("lm_top_k", coerce.whole_from(0), None, "of the 5 Hz LM; 0 is off"),
    _field("lm_top_p", coerce.number_above(0), 0.9, "of the 5 Hz LM; 1 and more is off"),
    _field("lm_repetition_penalty", coerce.number(0.5, 2), 1.0, "of the 5 Hz LM"),
    _nested("use_cot_caption cot_caption cot-caption", coerce.flag, True, "the 5 Hz LM may rewrite the caption"),
    _nested("use_cot_language cot_language cot-language", coerce.flag, True, "the 5 Hz LM may choose the language"),
    _nested("constrained_decoding constrainedDecoding constrained", coerce.flag, True,
            "the 5 Hz LM keeps to the form of its metadata"),
    _nested("constrained_decoding_debug", coerce.flag, False, "accepted; does nothing"),
    _nested("is_format_caption", coerce.flag, False, "accepted; does nothing"),
    _field("reference_audio_path", coerce.text(4096, trim=True), None, "a file below `AUDIO_ROOT`, for the timbre"),
    _field("src_audio_path", coerce.text(4096, trim=True), None, "a file below `AUDIO_ROOT`, the source"),
    _nested("task_type", coerce.choice(*TASKS), "text2music", "what to make"),
    _field("instruction", coerce.text(500), "", "instead of the task's own instruction to the model"),
    _nested("repainting_start", coerce.number_from(-600), 0.0, "seconds; negative begins before the source"),
    _nested("repainting_end", coerce.number_from(-1), None, "seconds above 0; 0 and -1 are the source's end"),
    _nested("repaint_mode", coerce.choice("conservative", "balanced", "aggressive"), None,
            "how the rest of the source is kept, as upstream does; not sent: a cross-fade inside the region"),
    _nested("repaint_strength", coerce.number(0, 1), 0.5,
            "with mode balanced: 0 keeps as conservative does, 1 as aggressive"),
    _nested("repaint_latent_crossfade_frames", coerce.whole_from(0), 10, "accepted; `repaint_mode` decides"),
    _nested("repaint_wav_crossfade_sec", coerce.number_from(0), 0.0, "accepted; `repaint_mode` decides"),
    _nested("chunk_mask_mode", coerce.choice("explicit", "auto"), "explicit",
            "what the DiT is told of the region: which frames are made anew, or that it may choose"),
    _nested("audio_cover_strength", coerce.number(0, 1), 1.0, "share of the steps that follow the source"),
    _nested("cover_noise_strength", coerce.number(0, 1), 0.0,
            "where a cover begins on the way from noise to its source; 0 is noise"),
    _nested("global_caption", coerce.text(2000), "", "what the whole song is like, where `caption` is of one track"),
    # Not of the documents: which tracks lego, extract and complete are about.
    _nested("track_name", coerce.tracks, (), "the track of lego and extract"),
    _nested("track_classes instruments", coerce.tracks, (), "the tracks of complete"),
    # Of upstream's later servers: an analysis instead of a song, see frontend/native/analysis.py.
    _nested("extract_codes_only", coerce.flag, False, "no song: the audio codes of the source"),
    _nested("full_analysis_only", coerce.flag, False,
            "no song: what the 5 Hz LM hears in the source, lyrics too, and its audio codes"),
    _nested("analysis_only", coerce.flag, False, "no song: the metadata that the 5 Hz LM gives caption and lyrics"),
)
# Files of a form, and which upload they are; upstream's later versions call them otherwise.
FILES = {
    **dict.fromkeys(spellings("src_audio ctx_audio"), "src_audio"),
    **dict.fromkeys(spellings("reference_audio ref_audio"), "reference_audio"),
}
# A form has a list by sending a name again; of all other names the first one counts, as documented.
_LISTED = ("audio_code_string", "track_name", "track_classes")
LISTED = frozenset(name for entry in TABLE if entry.name in _LISTED for name in entry.names)
NAMES = frozenset(name for entry in TABLE for name in entry.names) | frozenset(NESTED_OBJECTS)


def read(body: Mapping[str, object]) -> Fields:
    """Every field of TABLE out of `body`; a value outside its range is a 400 that names the field and the range."""
    return read_levels(TABLE, body, ())


def read_levels(table: Sequence[Field], body: Mapping[str, object], containers: Sequence[str]) -> Fields:
    """Every field of `table` out of `body`, then out of those objects in it that count.

    The first of `containers` that is not null is one, the first of NESTED_OBJECTS that is not empty another; both may
    be JSON text. Errors: RequestError 400.
    """
    levels, notes = [Level(body)], []
    for names, has_value in ((containers, lambda value: value is not None), (NESTED_OBJECTS, bool)):
        found = [name for name in names if has_value(body.get(name))]
        if not found:
            continue
        inner = object_in(body[found[0]])
        if inner is None and not is_blank(body[found[0]]):
            notes.append(f"{found[0]} was not used: it is no JSON object")
        notes += [f"{name} was not used: {found[0]} wins" for name in found[1:] if not is_blank(body[name])]
        levels.append(Level(inner or {}, container=f"{found[0]}."))
    fields = read_built(table, levels, (*FILES, *containers, *NESTED_OBJECTS))
    return replace(fields, notes=(*notes, *_misread(table, levels), *fields.notes))


def _misread(table: Sequence[Field], levels: Sequence[Level]) -> Iterator[str]:
    """A line about `format`, which is no format of files."""
    use_format = next(entry for entry in table if entry.name == "use_format")
    for level, name, value in [*places(use_format, levels)][:1]:
        if isinstance(value, str) and value.strip().lower() in SONG_FORMATS:
            yield f"{level.label(name)} was read as use_format, and {value.strip()} as false; files have audio_format"
