"""Every text that the DiT and the 5 Hz LM are given.

Sources: upstream's constants.py, conditioning_text.py, metadata_utils.py and task_utils.py for the DiT,
llm_inference.py for the LM; the turns are Qwen's ChatML; the block is PyYAML's own layout (docs/lm.md).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

NOTHING = "NO USER INPUT"
PLAIN = "Fill the audio semantic mask based on the given conditions:"
_FIXED = {
    "text2music": PLAIN,
    "repaint": "Repaint the mask area based on the given conditions:",
    "cover": "Generate audio semantic tokens based on the given conditions:",
    "cover-nofsq": "Generate audio semantic tokens based on the given conditions:",
}
_LM_TASKS = {
    "generate": "Generate audio semantic tokens based on the given conditions:",
    "understand": "Understand the given musical conditions and describe the audio semantics accordingly:",
    "sample": "Expand the user's input into a more detailed and specific musical description:",
    "format": "Format the user's input into a more detailed and specific musical description:",
}


def instruction(task: str, own: str = "", tracks: Sequence[str] = ()) -> str:
    """The instruction of a task, or the caller's own, with a colon at its end."""
    if own:
        return own if own.endswith(":") else own + ":"
    names = " | ".join(tracks).upper()
    if task == "extract":
        return f"Extract the {names} track from the audio:" if names else "Extract the track from the audio:"
    if task == "lego":
        about = f"the {names} track" if names else "the track"
        return f"Generate {about} based on the audio context:"
    if task == "complete":
        return f"Complete the input track with {names}:" if names else "Complete the input track:"
    return _FIXED[task]


def caption_text(
    instruction: str, caption: str, seconds: float, bpm: int | None = None, key: str = "", signature: str = ""
) -> str:
    """The caption branch's text; of a whole prompt given as caption, its caption alone is taken."""
    if "# Instruction" in caption and "# Caption" in caption:
        caption = caption.split("# Caption", 1)[1].split("# Metas", 1)[0].strip()
    lines = ["# Instruction", instruction, "", "# Caption", caption, "", "# Metas"]
    lines += [f"- bpm: {bpm or 'N/A'}", f"- timesignature: {signature or 'N/A'}", f"- keyscale: {key or 'N/A'}"]
    lines += [f"- duration: {int(seconds)} seconds", "<|endoftext|>", ""]
    return "\n".join(lines)


def stems_caption(instruction: str, caption: str, whole: str, mask_mode: str) -> str:
    """The caption of a model trained on stems (`is_lego_sft`): the whole song, the stem, who decides on the mask.

    An instruction about a segment leaves the whole song out.
    """
    lines = [] if "a segment" in instruction.lower() else [f"Global: {whole}"]
    lines += [f"Local: {caption}", "Mask Control: " + ("false" if mask_mode == "auto" else "true")]
    return "\n".join(lines)


def lyric_text(language: str, lyrics: str, instrumental: bool = False) -> str:
    """The lyric branch's text; songs without singing have a marker that the models know (docs/model.md, Texts)."""
    if instrumental or lyrics.strip().lower() in ("[inst]", "[instrumental]"):
        lyrics = "[Instrumental]"
    return f"# Languages\n{language}\n\n# Lyric\n{lyrics}<|endoftext|>"


def dit_texts(request: Mapping[str, Any], seconds: float, is_stems_model: bool = False) -> dict[str, str]:
    """The texts of a song request: caption_text, lyric_text and, with a cover strength below 1, later_text.

    The later one is that of a song without a source: the plain instruction, the plain caption, the same metadata.
    """
    task = "cover" if request.get("codes") else request.get("task", "text2music")
    caption = request.get("caption", "")
    metas = seconds, request.get("bpm"), request.get("key_scale", ""), request.get("time_signature", "")
    asked = instruction(task, request.get("instruction", ""), request.get("tracks", ()))
    shown = caption
    if is_stems_model:
        mode = request.get("chunk_mask_mode", "explicit")
        shown = stems_caption(asked, caption, request.get("global_caption", ""), mode)
    texts = {
        "caption_text": caption_text(asked, shown, *metas),
        "lyric_text": lyric_text(
            request.get("vocal_language") or "en", request.get("lyrics", ""), request.get("instrumental", False)),
    }
    # docs/behaviour.md: a repaint ignores the strength, and a song without a source has none.
    if request.get("cover_strength", 1) < 1 and task not in ("text2music", "repaint"):
        texts["later_text"] = caption_text(PLAIN, caption, *metas)
    return texts


def chat(task: str, content: str, begun: str = "") -> str:
    """System and user turn, and the LM's own turn, open after what is begun of it."""
    return (
        f"<|im_start|>system\n# Instruction\n{_LM_TASKS[task]}\n\n<|im_end|>\n"
        f"<|im_start|>user\n{content}<|im_end|>\n<|im_start|>assistant\n{begun}")


def says_something(negative: str) -> bool:
    """Whether a negative prompt is more than its placeholder."""
    return negative.strip() not in ("", NOTHING)


def lm_block(sheet: Mapping[str, Any]) -> str:
    """The metadata block of a sheet; what is digits alone is written as a number."""
    known = {name: int(value) if str(value).isdigit() else value for name, value in sheet.items()}
    body = yaml.dump(known, allow_unicode=True, sort_keys=True).strip() if known else ""
    return f"<think>\n{body}\n</think>"


def lm_metadata(caption: str, lyrics: str) -> str:
    """The LM's text that asks for metadata; it has no unconditional one (upstream a188f4c)."""
    return chat("generate", f"# Caption\n{caption}\n\n# Lyric\n{lyrics}\n")


def lm_codes(caption: str, lyrics: str, block: str) -> str:
    """The LM's text that asks for codes: they follow the block in the same turn (upstream 47a9103)."""
    return chat("generate", f"# Caption\n{caption}\n\n# Lyric\n{lyrics}\n", f"{block}\n\n")


def lm_codes_negative(negative: str) -> str:
    """The unconditional one: the bare negative as the user's turn, and an empty block."""
    return chat("generate", negative if says_something(negative) else NOTHING, "<think>\n\n</think>\n\n")


def lm_understand(codes: Sequence[int]) -> str:
    """The LM's text that asks what codes sound like; without codes it makes something up."""
    return chat("understand", "".join(f"<|audio_code_{code}|>" for code in codes) or NOTHING)


def lm_sample(query: str, instrumental: bool) -> str:
    """The LM's text that asks for a whole song from a wish."""
    wish = query if query.strip() else NOTHING
    return chat("sample", f"{wish}\n\ninstrumental: {'true' if instrumental else 'false'}")


def lm_format(caption: str, lyrics: str) -> str:
    """The LM's text that asks to rework a caption and lyrics."""
    caption, lyrics = caption if caption.strip() else NOTHING, lyrics if lyrics.strip() else "[Instrumental]"
    return chat("format", f"# Caption\n{caption}\n\n# Lyric\n{lyrics}")
