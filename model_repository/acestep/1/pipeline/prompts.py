"""The two texts a DiT is conditioned on (docs/model.md, Texts)."""

import re
from dataclasses import dataclass

INSTRUMENTAL_LYRICS = "[Instrumental]"
INSTRUCTIONS = {
    "text2music": "Fill the audio semantic mask based on the given conditions:",
    "repaint": "Repaint the mask area based on the given conditions:",
    "cover": "Generate audio semantic tokens based on the given conditions:",
    "cover-nofsq": "Generate audio semantic tokens based on the given conditions:",
    "extract": "Extract the {TRACK_NAME} track from the audio:",
    "lego": "Generate the {TRACK_NAME} track based on the audio context:",
    "complete": "Complete the input track with {TRACK_CLASSES}:",
}
# What the reference says when no track is named.
_UNNAMED = {
    "extract": "Extract the track from the audio:",
    "lego": "Generate the track based on the audio context:",
    "complete": "Complete the input track:",
}
_CAPTION_SECTION = re.compile(r"#\s*Caption\s*\n(.*?)(?:\n\s*#\s*Metas|$)", re.DOTALL)


@dataclass(frozen=True)
class Metadata:
    """What the song is about, as the DiT is told and as the caller is shown."""

    caption: str
    lyrics: str
    vocal_language: str
    bpm: int | None
    key_scale: str
    time_signature: str
    duration: float
    genres: str = ""


def instruction_for(task: str, own: str, tracks: tuple[str, ...]) -> str:
    """The task's instruction, or the caller's own; placeholders are filled with the tracks in capitals."""
    instruction = own or (INSTRUCTIONS[task] if tracks or task not in _UNNAMED else _UNNAMED[task])
    names = " | ".join(track.upper() for track in tracks)
    for placeholder in ("{TRACK_NAME}", "{TRACK_CLASSES}"):
        if not names:
            # "the {TRACK_NAME} track" without a name is "the track"; the braces mean nothing to the model.
            instruction = instruction.replace(placeholder + " ", "").replace(" with " + placeholder, "")
        instruction = instruction.replace(placeholder, names)
    return instruction


def caption_prompt(instruction: str, metadata: Metadata) -> str:
    """The text branch's prompt; the line breaks are part of what the encoder was trained on."""
    if not instruction.endswith(":"):
        instruction += ":"
    metas = (
        f"- bpm: {metadata.bpm or 'N/A'}\n"
        f"- timesignature: {metadata.time_signature.strip() or 'N/A'}\n"
        f"- keyscale: {metadata.key_scale.strip() or 'N/A'}\n"
        f"- duration: {int(metadata.duration)} seconds\n"
    )
    caption = bare_caption(metadata.caption)
    return f"# Instruction\n{instruction}\n\n# Caption\n{caption}\n\n# Metas\n{metas}<|endoftext|>\n"


def stem_caption(metadata: Metadata, song_caption: str, instruction: str, is_mask_given: bool) -> str:
    """The caption as models are trained on it that make the stems of a song (upstream's is_lego_sft, 6d467e4).

    `song_caption` is about the whole song, the metadata's about the stem; an instruction for a segment has the latter
    alone. `is_mask_given`: the mask says which frames are made anew.
    """
    lines = [] if "a segment" in instruction.lower() else [f"Global: {song_caption}"]
    lines += [f"Local: {bare_caption(metadata.caption)}", f"Mask Control: {str(is_mask_given).lower()}"]
    return "\n".join(lines)


def lyric_prompt(metadata: Metadata) -> str:
    """The lyric branch's prompt; the lyrics go in verbatim."""
    return f"# Languages\n{metadata.vocal_language}\n\n# Lyric\n{metadata.lyrics}<|endoftext|>"


def bare_caption(caption: str) -> str:
    """The caption alone when the caller sent a whole prompt, else the caption as it is."""
    if "# Instruction" in caption and "# Caption" in caption:
        section = _CAPTION_SECTION.search(caption)
        if section:
            return section.group(1).strip()
    return caption


def sung_lyrics(lyrics: str, instrumental: bool) -> str:
    """The lyric text the models see: instrumental songs have a marker they were trained on."""
    if instrumental or lyrics.strip().lower() in ("[inst]", "[instrumental]"):
        return INSTRUMENTAL_LYRICS
    return lyrics
