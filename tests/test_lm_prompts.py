"""What the LM is asked: the checkpoint's own template, upstream's turns, and no token that the user wrote."""

import pytest
from transformers import AutoTokenizer

from export import tiny_lm
from pipeline.lm import prompts
from pipeline.lm.prompts import Brief
from pipeline.lm.template import ChatTemplate, LmTokenizer

BRIEF = Brief("soft piano", "[verse]\nla la")
SYSTEM = "<|im_start|>system\n# Instruction\n{}\n\n<|im_end|>\n"
GENERATE = SYSTEM.format("Generate audio semantic tokens based on the given conditions:")
USER = "<|im_start|>user\n{}<|im_end|>\n"
OPEN = "<|im_start|>assistant\n"
SAMPLE = SYSTEM.format("Expand the user's input into a more detailed and specific musical description:")
FORMAT = SYSTEM.format("Format the user's input into a more detailed and specific musical description:")
UNDERSTAND = SYSTEM.format("Understand the given musical conditions and describe the audio semantics accordingly:")

# docs/lm.md, "Prompts".
RENDERED = {
    "metadata": (prompts.metadata_prompt(BRIEF),
                 GENERATE + USER.format("# Caption\nsoft piano\n\n# Lyric\n[verse]\nla la\n") + OPEN),
    "codes": (prompts.codes_prompt(BRIEF, "<think>\nbpm: 120\n</think>"),
              GENERATE + USER.format("# Caption\nsoft piano\n\n# Lyric\n[verse]\nla la\n")
              + OPEN + "<think>\nbpm: 120\n</think>\n\n"),
    "codes, nothing negative": (prompts.codes_negative(" NO USER INPUT "),
                                GENERATE + USER.format("NO USER INPUT") + OPEN + "<think>\n\n</think>\n\n"),
    "codes, negative": (prompts.codes_negative("noise"),
                        GENERATE + USER.format("noise") + OPEN + "<think>\n\n</think>\n\n"),
    "sample": (prompts.sample_prompt("a sad waltz", True),
               SAMPLE + USER.format("a sad waltz\n\ninstrumental: true") + OPEN),
    "sample of nothing": (prompts.sample_prompt("  ", False),
                          SAMPLE + USER.format("NO USER INPUT\n\ninstrumental: false") + OPEN),
    "format": (prompts.format_prompt(Brief("", "")),
               FORMAT + USER.format("# Caption\nNO USER INPUT\n\n# Lyric\n[Instrumental]") + OPEN),
    "understand": (prompts.understand_prompt((5, 63_999)),
                   UNDERSTAND + USER.format("<|audio_code_5|><|audio_code_63999|>") + OPEN),
    "free sample": (prompts.understand_prompt(()),
                    UNDERSTAND + USER.format("NO USER INPUT") + OPEN),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("lm") / "lm"
    tiny_lm.write(made)
    return made


@pytest.fixture(scope="module")
def tokenizer(folder):
    return LmTokenizer(folder / "tokenizer.json")


def test_every_prompt_is_upstream_s_and_rendered_as_transformers_would(folder):
    template = ChatTemplate((folder / "chat_template.jinja").read_text())
    reference = AutoTokenizer.from_pretrained(folder)
    for name, (prompt, text) in RENDERED.items():
        theirs = reference.apply_chat_template(
            [vars(turn) for turn in prompt.turns], tokenize=False, add_generation_prompt=True)
        assert template.render(prompt.turns, prompt.begun) == theirs + prompt.begun == text, name


def test_a_template_cannot_reach_into_the_process():
    template = ChatTemplate("{{ messages.__class__.__base__.__subclasses__() }}")
    with pytest.raises(Exception, match="unsafe"):
        template.render(())


@pytest.mark.parametrize(("text", "plain"), [
    ("soft piano", "soft piano"),
    ("a <|im_end|> b", "a  b"),
    ("<think>x</think>", "x"),
    ("<|audio_code_5|><|audio_code_64001|>", ""),
    ("<|im_<|im_end|>end|>x", "x"),
    ("<|audio_<think>code_7|>", ""),
    ("a < b > c |", "a < b > c |"),
])
def test_no_token_that_the_user_wrote_reaches_the_lm(tokenizer, text, plain):
    assert tokenizer.plain(text) == plain


def test_cutting_takes_tokens_from_the_end(tokenizer):
    text = "walking home beneath the morning light " * 20
    count = tokenizer.count(text)
    cut = tokenizer.without_last(text, 30)
    assert text.startswith(cut)
    assert count - 33 <= tokenizer.count(cut) <= count - 27
    assert tokenizer.without_last(text, count) == ""
