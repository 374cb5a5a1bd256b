"""Song requests: the JSON contract, checked, as a frozen dataclass."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from .errors import INVALID, SongError, invalid

SCHEMA: dict[str, Any] = json.loads((Path(__file__).parent.parent / "request.schema.json").read_text())
_VALIDATOR = Draft202012Validator(SCHEMA)
_RESHAPED = {"codes", "tracks", "seeds", "timesteps", "cfg_interval"}
_TYPE_WORDS = {"integer": "a whole number", "number": "a number", "string": "a text", "boolean": "true or false",
               "array": "a list", "null": "null"}


@dataclass(frozen=True)
class SongRequest:
    """One song as asked for; field by field as in request.schema.json."""

    kind: str
    model: str | None
    task: str
    caption: str
    lyrics: str
    vocal_language: str | None
    instrumental: bool
    bpm: int | None
    key_scale: str
    time_signature: str
    duration: float | None
    instruction: str
    seeds: tuple[int, ...]
    steps: int | None
    shift: float
    timesteps: tuple[float, ...] | None
    infer_method: str
    sampler_mode: str
    velocity_norm_threshold: float
    velocity_ema_factor: float
    dcw_enabled: bool
    dcw_mode: str
    dcw_scaler: float
    dcw_high_scaler: float
    dcw_wavelet: str
    latent_shift: float
    latent_rescale: float
    guidance_scale: float
    use_adg: bool
    cfg_interval: tuple[float, float]
    codes: tuple[tuple[int, ...], ...] | None
    tracks: tuple[str, ...]
    repaint_start: float
    repaint_end: float | None
    cover_strength: float
    cover_noise_strength: float
    repaint_mode: str | None
    repaint_strength: float
    chunk_mask_mode: str
    global_caption: str
    fallback_duration: float
    thinking: bool
    sample_query: str
    sample_mode: bool
    use_format: str
    use_cot_metas: bool
    use_cot_caption: bool
    use_cot_language: bool
    constrained_decoding: bool
    lm_engine: str | None
    lm_temperature: float
    lm_cfg_scale: float
    lm_top_k: int
    lm_top_p: float
    lm_repetition_penalty: float
    lm_negative_prompt: str
    wanted: frozenset[str]


def parse_json(text: bytes | str) -> dict[str, Any]:
    """The request tensor's JSON object. Errors: 400 when it is not an object or holds NaN or Infinity."""
    try:
        body = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise SongError(INVALID, f"request: must be a JSON object ({error})") from None
    if not isinstance(body, dict):
        raise SongError(INVALID, "request: must be a JSON object")
    return body


def read_song(body: Mapping[str, Any]) -> SongRequest:
    """The request with defaults filled in. Errors: 400 naming a field that breaks the schema."""
    checked = {name: value for name, value in body.items() if name != "codes"}
    error = next(iter(sorted(_VALIDATOR.iter_errors(checked), key=lambda e: list(map(str, e.absolute_path)))), None)
    if error is not None:
        raise invalid(*_explain(error, body))
    codes = _read_codes(body.get("codes"))
    value = {name: body.get(name, rule.get("default")) for name, rule in SCHEMA["properties"].items()}
    start, end = value["cfg_interval"]
    if start > end:
        raise invalid("cfg_interval", "start must not be above end")
    if codes is not None and len(codes) not in (1, len(value["seeds"])):
        raise invalid("codes", f"must have one list for all items or one for each of the {len(value['seeds'])}")
    as_they_are = {field.name for field in fields(SongRequest)} & set(value) - _RESHAPED
    return SongRequest(
        **{name: value[name] for name in as_they_are},
        codes=None if codes is None else tuple(codes),
        tracks=tuple(value["tracks"]),
        seeds=tuple(value["seeds"]),
        timesteps=None if value["timesteps"] is None else tuple(value["timesteps"]),
        cfg_interval=(start, end),
        wanted=frozenset(value["return"]),
    )


def _read_codes(codes: Any) -> list[tuple[int, ...]] | None:
    """The codes as they are, held to the schema's own limits; a validator takes a quarter of a second for 8 × 3,000."""
    if codes is None:
        return None
    rule = SCHEMA["properties"]["codes"]
    _check_list(codes, "must be a list or null", rule)
    low, high = rule["items"]["items"]["minimum"], rule["items"]["items"]["maximum"]
    items = []
    for item in codes:
        _check_list(item, "each must be a list", rule["items"])
        # JSON Schema takes 5.0 for a whole number.
        whole = item if set(map(type, item)) == {int} else [_whole(code) for code in item]
        if min(whole) < low or max(whole) > high:
            raise invalid("codes", f"each must be between {low} and {high}")
        items.append(tuple(whole))
    return items


def _check_list(value: Any, words: str, rule: Mapping[str, Any]) -> None:
    if not isinstance(value, list):
        raise invalid("codes", words)
    if not rule["minItems"] <= len(value) <= rule["maxItems"]:
        raise invalid("codes", f"must have {rule['minItems']} to {rule['maxItems']} entries")


def _whole(code: Any) -> int:
    if type(code) is int or (type(code) is float and code.is_integer()):
        return int(code)
    raise invalid("codes", "each must be a whole number")


def _explain(error: ValidationError, body: Mapping[str, Any]) -> tuple[str, str]:
    """Field and rule of a schema violation, in words that name the allowed range."""
    field = str(error.absolute_path[0]) if error.absolute_path else "request"
    rule: dict[str, Any] = error.schema  # type: ignore[assignment]
    each = "each must" if len(error.absolute_path) > 1 else "must"
    match error.validator:
        case "minimum" | "maximum":
            return field, f"{each} be between {rule['minimum']} and {rule['maximum']}"
        case "exclusiveMinimum":
            return field, f"{each} be above {rule['exclusiveMinimum']}"
        case "enum":
            return field, f"{each} be one of {', '.join(_enum_word(v) for v in rule['enum'])}"
        case "const":
            return field, f"{each} be {rule['const']}"
        case "type":
            allowed = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
            return field, f"{each} be {' or '.join(_TYPE_WORDS[name] for name in allowed)}"
        case "maxLength":
            return field, f"{each} have at most {rule['maxLength']} characters"
        case "minItems" | "maxItems":
            return field, f"must have {rule['minItems']} to {rule['maxItems']} entries"
        case "additionalProperties":
            extra = sorted(set(body) - set(rule["properties"]))
            return extra[0], "is not a field of a song request"
        case "required":
            return "kind", "is missing"
    return field, f"breaks the rule {error.validator}"


def _enum_word(value: str | None) -> str:
    return "null" if value is None else value or "(empty)"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")
