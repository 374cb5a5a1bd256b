"""The table of all settings, and the documented variables that do nothing here."""

from __future__ import annotations

from pathlib import Path

from frontend.defaults import UPSTREAM

from .setting import Hint, Setting


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
    Setting("upstream_defaults", "UPSTREAM_DEFAULTS", "choice", None,
            "What a client does not send is as in upstream's server of that month. `2026-06`: `dcw_enabled` true, "
            "`repaint_mode` balanced, `chunk_mask_mode` auto, which there means that every frame is made anew (also "
            "where it is sent), and 120 seconds where nobody gives a duration; steps and shift stay 8 and 3. Unset: "
            "the defaults of [api.md](api.md), and 30 seconds.", choices=tuple(UPSTREAM)),
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
    Setting("cors_origins", "CORS_ORIGINS", "origins", None,
            "Web pages that may use both APIs from a browser: origins such as `https://studio.example`, with commas "
            "between them, `null` (files, sandboxed frames), or `*` for every page. From any other origin nothing is "
            "changed. Unset: `localhost`, `127.0.0.1` and `[::1]` with any port while the API listens on loopback, "
            "else none. An API on loopback behind a proxy that passes its own name on needs that origin listed."),
    Setting("generation_timeout", "ACESTEP_GENERATION_TIMEOUT", "number", 590.0,
            "Seconds after which a chat request whose song is not ready is answered with 504 and its song cancelled, "
            "and so is a text of `/format_input`; native jobs have no such end. Below the 600 s of OpenAI's SDKs, "
            "which would give up first and ask for the same song twice more.", low=1, high=86_400),
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
            "Largest request body with audio in MiB, a multipart one with all its files or a chat request with its "
            "`input_audio`, which base64 makes a third larger; a larger one is answered with 413. The default admits "
            "ten minutes of 48 kHz stereo WAV, 32-bit float, as source and as reference (in a chat request 16-bit).",
            low=1, high=65_536),
    Setting("audio_root", "AUDIO_ROOT", "path", None,
            "Folder whose files `src_audio_path` and `reference_audio_path` may name; links must end inside of it. "
            "Unset: paths are refused, files are uploaded."),
    Setting("keep_days", "JOB_KEEP_DAYS", "number", 30.0,
            "Days that ended jobs and their audio files are kept.", low=0.01, high=36_500),
    Setting("keep_count", "JOB_KEEP_COUNT", "whole", 1000,
            "Ended jobs that are kept with their audio files; of more the oldest go.", low=1, high=1_000_000),
    Setting("lease_seconds", "JOB_LEASE_SECONDS", "number", 30.0,
            "A running job whose worker has not renewed its lease for this long is run again by another worker; a chat "
            "song whose server has died ends after it.",
            low=2, high=3600),
)

_SAMPLE = ("constrained decoding leaves none of these values open in sample mode; without it the LM may, and then they "
           "are upstream's 120 bpm, C major, 4/4 and 120 s")
_OFFLOAD = "Triton keeps what it serves loaded; memory is chosen by what is exported, not by moving weights"
HINTS: tuple[Hint, ...] = (
    Hint("ACESTEP_USE_FLASH_ATTENTION", "attention is part of the exported graph; its runtime picks the kernel"),
    Hint("ACESTEP_OFFLOAD_TO_CPU", _OFFLOAD),
    Hint("ACESTEP_OFFLOAD_DIT_TO_CPU", _OFFLOAD),
    Hint("ACESTEP_LM_OFFLOAD_TO_CPU", _OFFLOAD),
    Hint("ACESTEP_API_WORKERS", "songs in flight are ACESTEP_QUEUE_WORKERS; no thread waits for one"),
    *(Hint(f"ACESTEP_SAMPLE_DEFAULT_{name}", _SAMPLE) for name in ("BPM", "KEY", "TIMESIGNATURE", "DURATION_SECONDS")),
)
