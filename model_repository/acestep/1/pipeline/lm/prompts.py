"""What the LM is asked, phase by phase (model facts C2 to C4)."""

from dataclasses import dataclass

from .template import Turn

NOTHING = "NO USER INPUT"
INSTRUCTIONS = {
    "generate": "Generate audio semantic tokens based on the given conditions:",
    "understand": "Understand the given musical conditions and describe the audio semantics accordingly:",
    "sample": "Expand the user's input into a more detailed and specific musical description:",
    "format": "Format the user's input into a more detailed and specific musical description:",
}


@dataclass(frozen=True)
class Brief:
    """What a song is to be, in the user's words: both are free of control tokens."""

    caption: str
    lyrics: str


@dataclass(frozen=True)
class Prompt:
    """Turns of one row; with `answer` the LM's own turn is opened after them."""

    turns: tuple[Turn, ...]
    answer: bool


def metadata_prompt(brief: Brief) -> Prompt:
    """Asks for the metadata of a song."""
    return _ask("generate", f"# Caption\n{brief.caption}\n\n# Lyric\n{brief.lyrics}\n")


def metadata_negative(brief: Brief, negative: str) -> Prompt:
    """The unconditional row of `metadata_prompt`: another caption, or none."""
    if is_meaningful(negative):
        return metadata_prompt(Brief(negative, brief.lyrics))
    return _ask("generate", f"# Lyric\n{brief.lyrics}\n")


def codes_prompt(brief: Brief, block: str) -> Prompt:
    """Asks for the codes of a song whose metadata block is known; the block is a finished turn of the LM's."""
    asked = metadata_prompt(brief)
    return Prompt((*asked.turns, Turn("assistant", block)), answer=False)


def codes_negative(brief: Brief, negative: str) -> Prompt:
    """The unconditional row of `codes_prompt`: no metadata, and another caption if one is given."""
    caption = negative if is_meaningful(negative) else brief.caption
    return codes_prompt(Brief(caption, brief.lyrics), "<think>\n</think>")


def sample_prompt(query: str, instrumental: bool) -> Prompt:
    """Asks for a whole song from a wish in plain words."""
    return _ask("sample", f"{query.strip() or NOTHING}\n\ninstrumental: {str(instrumental).lower()}")


def format_prompt(brief: Brief) -> Prompt:
    """Asks to rework caption and lyrics."""
    caption, lyrics = brief.caption.strip() or NOTHING, brief.lyrics.strip() or "[Instrumental]"
    return _ask("format", f"# Caption\n{caption}\n\n# Lyric\n{lyrics}")


def understand_prompt(codes: tuple[int, ...]) -> Prompt:
    """Asks what codes sound like; without codes it is a free sample."""
    return _ask("understand", "".join(f"<|audio_code_{code}|>" for code in codes) or NOTHING)


def is_meaningful(negative: str) -> bool:
    """Whether a negative prompt says anything."""
    return negative.strip() not in ("", NOTHING)


def _ask(mode: str, content: str) -> Prompt:
    return Prompt((Turn("system", f"# Instruction\n{INSTRUCTIONS[mode]}\n\n"), Turn("user", content)), answer=True)
