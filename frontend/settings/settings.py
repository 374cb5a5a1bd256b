"""One process's settings, out of its command line, its environment, `.env` and the table's defaults."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from frontend import exposure

from .dotenv import read_dotenv
from .setting import Setting, SettingsError
from .table import HINTS, TABLE


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
    upstream_defaults: str | None
    host: str
    port: int
    native_api_key: str | None
    chat_host: str
    chat_port: int
    api_key: str | None
    cors_origins: str | None
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
        exposure.warning_of_pages(values["cors_origins"], values["native_api_key"], "ACESTEP_API_KEY"),
        exposure.warning_of_pages(values["cors_origins"], values["api_key"], "OPENROUTER_API_KEY"),
    )
    return Settings(**values, warnings=(*warnings, *filter(None, doors)))


def _find(
    setting: Setting, flags: Mapping[str, str | None], sources: Iterable[Mapping[str, str]]
) -> tuple[str, str] | None:
    """(name as the user wrote it, text) of the first source that sets it."""
    if flag := (flags.get(setting.attribute) or "").strip():
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


def load(
    argv: Sequence[str] = (), env: Mapping[str, str] | None = None, dotenv: Path | None = Path(".env"), *,
    prog: str | None = None, description: str | None = None,
) -> Settings:
    """Settings of this process from its arguments, environment and `.env`; raises SettingsError."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    add_arguments(parser)
    flags = vars(parser.parse_args(list(argv)))
    return resolve(flags, os.environ if env is None else env, read_dotenv(dotenv))


assert [s.attribute for s in TABLE] + ["warnings"] == [f.name for f in fields(Settings)]
