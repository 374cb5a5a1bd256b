"""Every setting of the service in one table: environment, command line, `.env`, docs and defaults come from it.

Nothing heavy is imported here: the launcher and the song command read the same table before any model or server exists.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from . import exposure

Kind = Literal["text", "whole", "number", "path", "choice"]


class SettingsError(ValueError):
    """A setting has a value it cannot have; the text is one line that names the setting and its range."""


@dataclass(frozen=True)
class Setting:
    """One row: `name` is the environment variable, `attribute` the field of `Settings` and, dashed, the flag."""

    attribute: str
    name: str
    kind: Kind
    default: Any
    help: str
    aliases: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        return "--" + self.attribute.replace("_", "-")

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)

    def parse(self, text: str, name: str) -> Any:
        """The value of `text`; SettingsError names `name` (the variable or flag that the user wrote)."""
        if self.kind == "text":
            return text
        if self.kind == "path":
            return Path(text).expanduser()
        if self.kind == "choice":
            if text.lower() not in self.choices:
                raise SettingsError(f"{name}: must be one of {', '.join(self.choices)}, not {text!r}")
            return text.lower()
        noun = "a whole number" if self.kind == "whole" else "a number"
        try:
            value = int(text) if self.kind == "whole" else float(text)
        except ValueError:
            raise SettingsError(f"{name}: must be {noun}{self.range_text()}, not {text!r}") from None
        if not (self.low is None or value >= self.low) or not (self.high is None or value <= self.high):
            raise SettingsError(f"{name}: must be {noun}{self.range_text()}, not {text!r}")
        return value

    def range_text(self) -> str:
        """" between 1 and 65535", " from 1", or nothing."""
        if self.low is not None and self.high is not None:
            return f" between {self.low:g} and {self.high:g}"
        return f" from {self.low:g}" if self.low is not None else ""


@dataclass(frozen=True)
class Hint:
    """A documented variable that changes nothing in this service; setting it gives a warning that says why."""

    name: str
    why: str


def _port(attribute: str, name: str, default: int, text: str) -> Setting:
    return Setting(attribute, name, "whole", default, text, low=1, high=65535)


TABLE: tuple[Setting, ...] = (
    Setting("checkpoints", "CHECKPOINTS", "path", None,
            "Folder of checkpoints in upstream's layout. Unset: `./checkpoints` when `MODEL` is set, else the embedded "
            "checkpoint, which is made on the first start and whose audio is noise."),
    Setting("model", "MODEL", "text", None, "Name of the default DiT, a folder below `CHECKPOINTS`.",
            aliases=("ACESTEP_CONFIG_PATH",)),
    Setting("model2", "MODEL2", "text", None, "Name of a second DiT, served beside the default one.",
            aliases=("ACESTEP_CONFIG_PATH2",)),
    Setting("model3", "MODEL3", "text", None, "Name of a third DiT.", aliases=("ACESTEP_CONFIG_PATH3",)),
    Setting("lm", "LM", "text", None,
            "Name of the 5 Hz LM, a folder below `CHECKPOINTS`, or `none`. Unset: `acestep-5Hz-lm-0.6B` if it is "
            "there, else the only `acestep-5Hz-lm-*` folder, else none. The embedded checkpoint has "
            "`acestep-5Hz-lm-tiny`, whose weights are random.",
            aliases=("ACESTEP_LM_MODEL_PATH",)),
    Setting("lm_backend", "ACESTEP_LM_BACKEND", "choice", "vllm",
            "Engine of the LM: vLLM, PyTorch (`pt`: one song at a time), or both, for requests to choose from.",
            choices=("vllm", "pt", "both")),
    Setting("lm_duration_max", "LM_DURATION_MAX", "whole", None,
            "Longest duration in seconds that the LM may choose for a song; one that is asked for may be longer. "
            "Unset: 600, but 60 with an LM whose weights are random.", low=10, high=600),
    Setting("precision", "PRECISION", "choice", "fp32", "Number format of the exported graphs.", choices=("fp32",)),
    Setting("device", "ACESTEP_DEVICE", "choice", "auto",
            "Where the models run: chooses the named Triton configuration. The lock installs what the CPU needs; "
            "`cuda` was never run and needs onnxruntime-gpu in the environment.",
            choices=("auto", "cpu", "cuda")),
    Setting("lm_device", "ACESTEP_LM_DEVICE", "choice", None,
            "Where the LM runs. Unset: as `ACESTEP_DEVICE`. The lock installs vLLM for the CPU; `cuda` was never run.",
            choices=("auto", "cpu", "cuda")),
    Setting("lm_cpu_kv_gib", "LM_CPU_KV_GIB", "whole", 1,
            "Size of vLLM's KV cache in GiB when it runs on the CPU. Both rows of a guided song of full length must "
            "fit: 4 for the 0.6B and the 1.7B in fp32, 5 for the 4B (computed, not run).", low=1, high=1024),
    Setting("host", "ACESTEP_API_HOST", "text", "127.0.0.1", "Address that the native API listens on."),
    _port("port", "ACESTEP_API_PORT", 8001, "Port of the native API."),
    Setting("native_api_key", "ACESTEP_API_KEY", "text", None,
            "Key of the native API, asked of every request but `/health`, `/livez` and `/readyz` (`Authorization: "
            "Bearer`); with it there is a list of jobs. Unset: `--api-key`, else no key."),
    Setting("chat_host", "OPENROUTER_HOST", "text", "127.0.0.1",
            "Address that the OpenRouter-compatible API listens on."),
    _port("chat_port", "OPENROUTER_PORT", 8002, "Port of the OpenRouter-compatible API."),
    Setting("api_key", "OPENROUTER_API_KEY", "text", None,
            "Key of the OpenRouter-compatible API, asked of every request but `/health` (`Authorization: Bearer`). "
            "Unset or empty: no key."),
    Setting("generation_timeout", "ACESTEP_GENERATION_TIMEOUT", "number", 600.0,
            "Seconds after which a chat request whose song is not ready is answered with 504 and its song cancelled. "
            "Native jobs have no such end.", low=1, high=86_400),
    _port("triton_http_port", "TRITON_HTTP_PORT", 18000, "HTTP port of the embedded Triton server."),
    _port("triton_grpc_port", "TRITON_GRPC_PORT", 18001, "gRPC port of the embedded Triton server."),
    _port("triton_metrics_port", "TRITON_METRICS_PORT", 18002, "Metrics port of the embedded Triton server."),
    Setting("triton_url", "TRITON_URL", "text", None,
            "host:port of Triton's gRPC service, as the frontend dials it. Unset: 127.0.0.1 and `TRITON_GRPC_PORT`."),
    Setting("state", "ACESTEP_TMPDIR", "path", Path(".cache/acestep/tmp"),
            "State folder: job database, audio files, spool, logs."),
    Setting("build", "ACESTEP_BUILD", "path", Path("build"),
            "Build folder: embedded checkpoint, exported graphs, assembled model repositories."),
    Setting("queue_maxsize", "ACESTEP_QUEUE_MAXSIZE", "whole", 200,
            "Jobs that may wait; one more is answered with 429. Running jobs do not count.", low=1, high=100_000),
    Setting("queue_workers", "ACESTEP_QUEUE_WORKERS", "whole", None,
            "Most songs that this frontend has in flight; 0 lets jobs wait. Unset: what the pipeline reports as its "
            "capacity.", low=0, high=256),
    Setting("avg_job_seconds", "ACESTEP_AVG_JOB_SECONDS", "number", 5.0,
            "Assumed seconds per job until jobs have been measured.", low=0.001, high=86_400),
    Setting("avg_window", "ACESTEP_AVG_WINDOW", "whole", 50, "Finished jobs whose mean run time is the average.",
            low=1, high=10_000),
    Setting("max_json_mb", "MAX_JSON_MB", "whole", 1,
            "Largest request body in MiB, uploaded files not counted; a larger one is answered with 413.",
            low=1, high=64),
    Setting("max_upload_mb", "MAX_UPLOAD_MB", "whole", 512,
            "Largest multipart request body in MiB, all its files together; a larger one is answered with 413. The "
            "default admits ten minutes of 48 kHz stereo WAV, 32-bit float, as source and as reference.",
            low=1, high=65_536),
    Setting("audio_root", "AUDIO_ROOT", "path", None,
            "Folder whose files `src_audio_path` and `reference_audio_path` may name; links must end inside of it. "
            "Unset: paths are refused, files are uploaded."),
    Setting("keep_days", "JOB_KEEP_DAYS", "number", 30.0,
            "Days that ended jobs and their audio files are kept.", low=0.01, high=36_500),
    Setting("keep_count", "JOB_KEEP_COUNT", "whole", 1000,
            "Ended jobs that are kept with their audio files; of more the oldest go.", low=1, high=1_000_000),
    Setting("lease_seconds", "JOB_LEASE_SECONDS", "number", 30.0,
            "A running job whose worker has not renewed its lease for this long is run again by another worker.",
            low=2, high=3600),
)

_OFFLOAD = "Triton keeps what it serves loaded; memory is chosen by what is exported, not by moving weights"
HINTS: tuple[Hint, ...] = (
    Hint("ACESTEP_USE_FLASH_ATTENTION", "attention is part of the exported graph; its runtime picks the kernel"),
    Hint("ACESTEP_OFFLOAD_TO_CPU", _OFFLOAD),
    Hint("ACESTEP_OFFLOAD_DIT_TO_CPU", _OFFLOAD),
    Hint("ACESTEP_LM_OFFLOAD_TO_CPU", _OFFLOAD),
    Hint("ACESTEP_API_WORKERS", "songs in flight are ACESTEP_QUEUE_WORKERS; no thread waits for one"),
)


@dataclass(frozen=True)
class Settings:
    """One process's settings, checked: the table's attributes, and `warnings`, a line for each hint and open door."""

    checkpoints: Path | None
    model: str | None
    model2: str | None
    model3: str | None
    lm: str | None
    lm_backend: str
    lm_duration_max: int | None
    precision: str
    device: str
    lm_device: str
    lm_cpu_kv_gib: int
    host: str
    port: int
    native_api_key: str | None
    chat_host: str
    chat_port: int
    api_key: str | None
    generation_timeout: float
    triton_http_port: int
    triton_grpc_port: int
    triton_metrics_port: int
    triton_url: str
    state: Path
    build: Path
    queue_maxsize: int
    queue_workers: int | None
    avg_job_seconds: float
    avg_window: int
    max_json_mb: int
    max_upload_mb: int
    audio_root: Path | None
    keep_days: float
    keep_count: int
    lease_seconds: float
    warnings: tuple[str, ...] = ()

    def environment(self) -> dict[str, str]:
        """The same settings as environment variables for a child process; paths absolute, unset ones left out."""
        result = {}
        for setting in TABLE:
            value = getattr(self, setting.attribute)
            if value is not None:
                result[setting.name] = str(value.absolute()) if isinstance(value, Path) else str(value)
        return result


def resolve(flags: Mapping[str, str | None], env: Mapping[str, str], dotenv: Mapping[str, str]) -> Settings:
    """Settings from flags (by attribute), then `env`, then `dotenv`, then defaults; an empty text means not set."""
    values: dict[str, Any] = {}
    for setting in TABLE:
        found = _find(setting, flags, (env, dotenv))
        values[setting.attribute] = setting.default if found is None else setting.parse(found[1], found[0])
    if values["lm"] is not None and values["lm"].lower() == "none":
        values["lm"] = "none"
    if values["lm_device"] is None:
        values["lm_device"] = values["device"]
    if values["triton_url"] is None:
        values["triton_url"] = f"127.0.0.1:{values['triton_grpc_port']}"
    if values["checkpoints"] is None and values["model"] is not None:
        values["checkpoints"] = Path("checkpoints")
    if values["audio_root"] is not None and not values["audio_root"].is_dir():
        raise SettingsError(f"AUDIO_ROOT: there is no folder {values['audio_root']}")
    if values["native_api_key"] is None:
        # Whoever gives the command a key expects every door to be closed.
        values["native_api_key"] = (flags.get("api_key") or "").strip() or None
    warnings = tuple(
        f"{hint.name} does nothing here: {hint.why}" for hint in HINTS if env.get(hint.name) or dotenv.get(hint.name)
    )
    doors = (
        exposure.warning(values["host"], values["native_api_key"], "ACESTEP_API_HOST", "ACESTEP_API_KEY"),
        exposure.warning(values["chat_host"], values["api_key"], "OPENROUTER_HOST", "OPENROUTER_API_KEY"),
    )
    return Settings(**values, warnings=(*warnings, *filter(None, doors)))


def _find(
    setting: Setting, flags: Mapping[str, str | None], sources: Iterable[Mapping[str, str]]
) -> tuple[str, str] | None:
    """(name as the user wrote it, text) of the first source that sets it."""
    if flag := flags.get(setting.attribute):
        return setting.flag, flag
    for source in sources:
        for name in setting.names:
            if text := source.get(name, "").strip():
                return name, text
    return None


def add_arguments(parser: argparse.ArgumentParser, attributes: Iterable[str] | None = None) -> None:
    """Give `parser` one flag per setting (or only the named ones); values stay text for `resolve`."""
    wanted = None if attributes is None else set(attributes)
    for setting in TABLE:
        if wanted is None or setting.attribute in wanted:
            text = f"{setting.help} [{setting.name}]".replace("%", "%%")
            parser.add_argument(setting.flag, dest=setting.attribute, metavar="VALUE", help=text)


def read_dotenv(path: Path | None) -> dict[str, str]:
    """NAME=value lines of a `.env` file; quotes around a value and a leading `export` are dropped; no file = empty."""
    if path is None or not path.is_file():
        return {}
    result: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, sign, value = line.strip().removeprefix("export ").partition("=")
        if not sign or name.startswith("#"):
            continue
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        result[name.strip()] = value
    return result


def load(
    argv: Sequence[str] = (), env: Mapping[str, str] | None = None, dotenv: Path | None = Path(".env"), *,
    prog: str | None = None, description: str | None = None,
) -> Settings:
    """Settings of this process from its arguments, environment and `.env`; raises SettingsError."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    add_arguments(parser)
    flags = vars(parser.parse_args(list(argv)))
    return resolve(flags, os.environ if env is None else env, read_dotenv(dotenv))


def docs() -> str:
    """docs/settings.md as text."""
    lines = [
        "# Settings", "",
        "Written by `python -m frontend.settings --docs` from the table of `frontend/settings.py`.",
        "",
        "Precedence: command line, environment, `.env` in the working directory, default. Empty means not set.",
        "An invalid value stops the start with one line that names the setting and its range.", "",
        "| variable | also | flag | default | range | meaning |", "| --- | --- | --- | --- | --- | --- |",
    ]
    for setting in TABLE:
        aliases = ", ".join(f"`{name}`" for name in setting.aliases)
        numbers = setting.range_text().replace("between ", "").replace(" and ", " to ").strip()
        allowed = ", ".join(f"`{c}`" for c in setting.choices) or numbers
        default = "" if setting.default is None else f"`{setting.default}`"
        cells = (f"`{setting.name}`", aliases, f"`{setting.flag}`", default, allowed, setting.help)
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "## Accepted without effect", "", "Setting one of these prints a warning with the reason.", "",
              "| variable | why it does nothing here |", "| --- | --- |"]
    lines += [f"| `{hint.name}` | {hint.why} |" for hint in HINTS]
    return "\n".join(lines) + "\n"


assert [s.attribute for s in TABLE] + ["warnings"] == [f.name for f in fields(Settings)]

if __name__ == "__main__":
    if sys.argv[1:] != ["--docs"]:
        sys.exit("usage: python -m frontend.settings --docs > docs/settings.md")
    sys.stdout.write(docs())
