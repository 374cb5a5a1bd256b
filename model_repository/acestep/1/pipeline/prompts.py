"""The two texts a DiT is conditioned on (model facts A1 to A3)."""

import re
from dataclasses import dataclass

INSTRUMENTAL_LYRICS = "[Instrumental]"
INSTRUCTIONS = {
    "text2music": "Fill the audio semantic mask based on the given conditions:",
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
