"""The settings table: docs/settings.md is what it says, precedence holds, a bad value is one line."""

# mypy: allow-untyped-calls

import os
from pathlib import Path

import openai
import pytest

from embedded import preflight
from embedded.exporter import arguments
from embedded.refusal import Refusal
from frontend.settings import HINTS, TABLE, SettingsError, load, read_dotenv
from frontend.settings.docs import docs

ROOT = Path(__file__).parent.parent
DOCUMENTED = {  # by the two APIs' documents, or read by the programs that they describe
    "ACESTEP_API_HOST", "ACESTEP_API_PORT", "ACESTEP_CONFIG_PATH", "ACESTEP_CONFIG_PATH2", "ACESTEP_CONFIG_PATH3",
    "ACESTEP_DEVICE", "ACESTEP_USE_FLASH_ATTENTION", "ACESTEP_OFFLOAD_TO_CPU", "ACESTEP_OFFLOAD_DIT_TO_CPU",
    "ACESTEP_LM_MODEL_PATH", "ACESTEP_LM_BACKEND", "ACESTEP_LM_DEVICE", "ACESTEP_LM_OFFLOAD_TO_CPU",
    "ACESTEP_QUEUE_MAXSIZE", "ACESTEP_QUEUE_WORKERS", "ACESTEP_AVG_JOB_SECONDS", "ACESTEP_TMPDIR",
    "OPENROUTER_API_KEY", "OPENROUTER_HOST", "OPENROUTER_PORT", "ACESTEP_AVG_WINDOW", "ACESTEP_API_WORKERS",
    "ACESTEP_SAMPLE_DEFAULT_BPM", "ACESTEP_SAMPLE_DEFAULT_KEY", "ACESTEP_SAMPLE_DEFAULT_TIMESIGNATURE",
    "ACESTEP_SAMPLE_DEFAULT_DURATION_SECONDS",
}


def settings(argv=(), env=None, dotenv=None):
    return load(argv, env or {}, dotenv)


def test_docs_are_current():
    written = (ROOT / "docs" / "settings.md").read_text()
    assert written == docs(), "run python -m frontend.settings --docs > docs/settings.md"


def test_names_are_unique_and_documented_ones_present():
    names = [name for setting in TABLE for name in setting.names] + [hint.name for hint in HINTS]
    assert len(names) == len(set(names))
    assert set(names) >= DOCUMENTED


def test_precedence_flag_environment_dotenv_default(tmp_path):
    dotenv = tmp_path / ".env"
    dotenv.write_text('# ports\nexport ACESTEP_API_PORT="1003"\nMODEL=from-dotenv\n')
    assert settings().port == 8001
    assert settings(dotenv=dotenv).port == 1003
    assert settings(env={"ACESTEP_API_PORT": "1002"}, dotenv=dotenv).port == 1002
    assert settings(["--port", "1001"], {"ACESTEP_API_PORT": "1002"}, dotenv).port == 1001
    assert settings(env={"ACESTEP_CONFIG_PATH": "by-alias"}, dotenv=dotenv).model == "by-alias"
    assert settings(env={"ACESTEP_CONFIG_PATH": "by-alias", "MODEL": "by-name"}).model == "by-name"


def test_empty_value_means_not_set():
    assert settings(env={"ACESTEP_API_PORT": "", "ACESTEP_QUEUE_WORKERS": " "}) == settings()
    assert settings(["--port", " ", "--model", "", "--state", "\t", "--api-key", " "]) == settings()
    assert settings(["--port", " "], {"ACESTEP_API_PORT": "1002"}).port == 1002


def test_blanks_around_a_value_are_no_part_of_it():
    given = settings(["--port", " 1001 ", "--api-key", " key\t", "--model", " m"])
    assert (given.port, given.api_key, given.native_api_key, given.model) == (1001, "key", "key", "m")


def test_dotenv_lines(tmp_path):
    file = tmp_path / ".env"
    file.write_text(
        "# A=1\nexport B = '2 ' # two\nPORT=1003   # a comment\nHASH=a#b\n D=4=5 \n\nEMPTY=\nQUOTED=\"a # b\" # c\n"
        "KEY=sk-$HOME${B}$$\n")
    assert read_dotenv(file) == {
        "B": "2 ", "PORT": "1003", "HASH": "a#b", "D": "4=5", "EMPTY": "", "QUOTED": "a # b", "KEY": "sk-$HOME${B}$$"}
    assert not {"PORT", "QUOTED"} & set(os.environ)
    assert read_dotenv(tmp_path / "none") == read_dotenv(None) == {}


def test_a_comment_after_a_value_is_no_part_of_it(tmp_path):
    file = tmp_path / ".env"
    file.write_text("ACESTEP_API_PORT=1003 # ours\nMODEL=m\t# the default\n")
    assert (settings(dotenv=file).port, settings(dotenv=file).model) == (1003, "m")


@pytest.mark.parametrize(("text", "line"), [
    ("A=1\n\n\nno sign\nB=2\n", 4), ("A=1\nLONELY\n", 2), ("=3\n", 1), ('A=1\nB="open\n', 2), ("B='a' b\n", 1),
])
def test_a_broken_line_is_one_line_that_names_it(tmp_path, text, line):
    file = tmp_path / ".env"
    file.write_text(text)
    with pytest.raises(SettingsError) as error:
        read_dotenv(file)
    assert str(error.value) == f".env: line {line} must be NAME=value, its quotes closed"
    file.write_bytes(b"A=\xff\n")
    with pytest.raises(SettingsError, match=r"^\.env: must be UTF-8 text$"):
        read_dotenv(file)


def test_the_default_deadline_is_before_that_of_openais_sdks():
    assert openai.DEFAULT_TIMEOUT.read is not None
    assert settings().generation_timeout < openai.DEFAULT_TIMEOUT.read


def test_triton_url_follows_the_port():
    assert settings(["--triton-grpc-port", "4000"]).triton_url == "127.0.0.1:4000"
    assert settings(env={"TRITON_URL": "gpu:8001"}).triton_url == "gpu:8001"


def test_checkpoints_folder_is_implied_by_a_model():
    assert settings().checkpoints is None
    assert settings(["--model", "acestep-v15-turbo"]).checkpoints == Path("checkpoints")


def test_the_lm_runs_where_the_other_models_do():
    assert settings(env={"ACESTEP_DEVICE": "cpu"}).lm_device == "cpu"
    assert settings(env={"ACESTEP_DEVICE": "cpu", "ACESTEP_LM_DEVICE": "cuda"}).lm_device == "cuda"


def test_the_export_learns_which_lm_is_wanted():
    assert settings().lm is None
    assert not [part for part in arguments(settings()) if part.startswith("--lm")]
    env = {"ACESTEP_LM_MODEL_PATH": "acestep-5Hz-lm-1.7B", "LM_DURATION_MAX": "240"}
    assert arguments(settings(env=env))[-4:] == ["--lm", "acestep-5Hz-lm-1.7B", "--lm-duration-max", "240"]
    assert arguments(settings(["--lm", "None"], env))[-4:] == ["--lm", "none", "--lm-duration-max", "240"]
    assert arguments(settings(env={"ACESTEP_LM_DEVICE": "cpu"}))[-2:] == ["--lm-device", "cpu"]


@pytest.mark.parametrize(("env", "line"), [
    ({}, None),
    ({"ACESTEP_LM_DEVICE": "cpu", "ACESTEP_LM_BACKEND": "both"}, None),
    ({"ACESTEP_LM_DEVICE": "cuda"}, "ACESTEP_LM_DEVICE=cuda: no NVIDIA GPU here; use auto, cpu or LM=none"),
    ({"ACESTEP_LM_DEVICE": "cuda", "LM": "none"}, None),
])
@pytest.mark.skipif(any(Path("/dev").glob("nvidia[0-9]*")), reason="this machine has an NVIDIA GPU")
def test_a_device_that_the_lm_cannot_have_stops_the_start(env, line):
    if line is None:
        preflight.check_lm_device(settings(env=env))
    else:
        with pytest.raises(Refusal) as error:
            preflight.check_lm_device(settings(env=env))
        assert str(error.value) == line


@pytest.mark.parametrize(("env", "line"), [
    ({"ACESTEP_API_PORT": "0"}, "ACESTEP_API_PORT: must be a whole number between 1 and 65535, not '0'"),
    ({"ACESTEP_API_PORT": "http"}, "ACESTEP_API_PORT: must be a whole number between 1 and 65535, not 'http'"),
    ({"ACESTEP_DEVICE": "tpu"}, "ACESTEP_DEVICE: must be one of auto, cpu, cuda, not 'tpu'"),
    ({"PRECISION": "bf16"}, "PRECISION: must be one of fp32, not 'bf16'"),
    ({"ACESTEP_AVG_JOB_SECONDS": "nan"},
     "ACESTEP_AVG_JOB_SECONDS: must be a number between 0.001 and 86400, not 'nan'"),
    ({"ACESTEP_LM_BACKEND": "mlx"}, "ACESTEP_LM_BACKEND: must be one of vllm, pt, both, not 'mlx'"),
    ({"ACESTEP_LM_DEVICE": "mps"}, "ACESTEP_LM_DEVICE: must be one of auto, cpu, cuda, not 'mps'"),
    ({"LM_DURATION_MAX": "601"}, "LM_DURATION_MAX: must be a whole number between 10 and 600, not '601'"),
    ({"LM_DURATION_MAX": "30.5"}, "LM_DURATION_MAX: must be a whole number between 10 and 600, not '30.5'"),
    ({"LM_CPU_KV_GIB": "0"}, "LM_CPU_KV_GIB: must be a whole number between 1 and 1024, not '0'"),
])
def test_a_bad_value_is_one_line_that_names_it(env, line):
    with pytest.raises(SettingsError) as error:
        settings(env=env)
    assert str(error.value) == line


@pytest.mark.parametrize("hint", [hint.name for hint in HINTS])
def test_memory_hints_warn_and_change_nothing(hint):
    with_hint = settings(env={hint: "true"})
    assert [line.split()[0] for line in with_hint.warnings] == [hint]
    assert with_hint.environment() == settings().environment()


def test_an_empty_key_is_none():
    assert settings(env={"OPENROUTER_API_KEY": "sk-1"}).api_key == "sk-1"
    assert settings(["--api-key", "sk-2"], {"OPENROUTER_API_KEY": "sk-1"}).api_key == "sk-2"
    assert settings(env={"OPENROUTER_API_KEY": " "}).api_key is None


def test_a_key_on_the_command_line_closes_both_apis():
    both = settings(["--api-key", "secret"])
    assert (both.native_api_key, both.api_key) == ("secret", "secret")
    assert settings(["--api-key", "chat"], {"ACESTEP_API_KEY": "native"}).native_api_key == "native"
    one = settings(env={"ACESTEP_API_KEY": "native", "OPENROUTER_API_KEY": " "})
    assert (one.native_api_key, one.api_key) == ("native", None)
    assert settings(env={"OPENROUTER_API_KEY": "chat"}).native_api_key is None


def test_environment_hands_everything_on(tmp_path):
    given = settings(["--port", "9001", "--state", str(tmp_path), "--queue-workers", "3"], {"MODEL": "m"})
    again = settings(env=given.environment())
    assert again.environment() == given.environment()
    assert (again.port, again.state, again.queue_workers, again.model) == (9001, tmp_path, 3, "m")
