"""The fields of a metadata block: their names in the order the LM learnt, and the values it may choose."""

DURATION_MIN, DURATION_MAX = 10, 600  # seconds
BPM_MIN, BPM_MAX = 30, 300

_NOTES = tuple(f"{letter}{sign}" for letter in "ABCDEFG" for sign in ("", "#", "b", "♯", "♭"))
KEYS = tuple(f"{note} {mode}" for note in _NOTES for mode in ("major", "minor"))
# ISO 639-1 codes and yue; `unknown` leaves the language open.
_CODES = """
ar az bg bn ca cs da de el en es fa fi fr he hi hr ht hu id is it ja ko la lt ms ne nl no pa pl pt ro ru
sa sk sr sv sw ta te th tl tr uk ur vi yue zh unknown
"""
LANGUAGES = tuple(_CODES.split())
TIME_SIGNATURES = ("2", "3", "4", "6")

FREE = ("caption", "genres")  # a line of the LM's own words; every other field has a finite set of values
NAMES = ("bpm", "caption", "duration", "genres", "keyscale", "language", "timesignature")


def list_values(name: str, duration_max: int) -> tuple[str, ...]:
    """What the LM may choose for the finite field `name`; its durations end at `duration_max` seconds."""
    return {
        "bpm": tuple(map(str, range(BPM_MIN, BPM_MAX + 1))),
        "duration": tuple(map(str, range(DURATION_MIN, duration_max + 1))),
        "keyscale": KEYS,
        "language": LANGUAGES,
        "timesignature": TIME_SIGNATURES,
    }[name]
