"""What the LM is asked, phase by phase; docs/lm.md has the prompts as a table, with their sources."""

from dataclasses import dataclass, replace

from .block import EMPTY_BLOCK
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
    """Turns of one row, after which the LM's own turn is opened; `begun` is the text that turn begins with."""

    turns: tuple[Turn, ...]
    begun: str = ""


def metadata_prompt(brief: Brief) -> Prompt:
    """Asks for the metadata of a song."""
    return _ask("generate", f"# Caption\n{brief.caption}\n\n# Lyric\n{brief.lyrics}\n")


def codes_prompt(brief: Brief, block: str) -> Prompt:
    """Asks for the codes of a song whose metadata block is known.

    The LM was trained on codes that follow the block in the same turn, after an empty line; the turn stays open.
    """
    return replace(metadata_prompt(brief), begun=f"{block}\n\n")


def codes_negative(negative: str) -> Prompt:
    """The unconditional row of `codes_prompt`: the bare negative as the user's words, and an empty block."""
    user = negative if is_meaningful(negative) else NOTHING
    return replace(_ask("generate", user), begun=f"{EMPTY_BLOCK}\n\n")


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
    return Prompt((Turn("system", f"# Instruction\n{INSTRUCTIONS[mode]}\n\n"), Turn("user", content)))
