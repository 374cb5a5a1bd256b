"""`python -m export`: a checkpoint goes in, a complete Triton model repository comes out."""

import argparse
import sys
from pathlib import Path

from .build import Request, export
from .errors import ExportError


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, the last line on stdout names the repository; or 2 with one line on stderr."""
    options = _parser().parse_args(arguments)
    request = Request(
        build=options.build,
        checkpoints=options.checkpoints,
        models=tuple(name for name in options.models.split(",") if name),
        precision=options.precision,
        lm=options.lm,
        lm_duration_max=options.lm_duration_max,
        lm_device=options.lm_device,
    )
    try:
        repository = export(request, lambda line: print(f"export: {line}", flush=True))
    except ExportError as error:
        print(f"export: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except OSError as error:  # disk full, no permission
        print(f"export: {error.strerror or error}: {error.filename or request.build}", file=sys.stderr)
        return 2
    print(f"repository: {repository}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__)
    parser.add_argument(
        "--checkpoints", type=Path, help="folder in upstream's layout (default: the embedded checkpoint)"
    )
    parser.add_argument("--models", default="", help="DiT folders there, separated by commas; the first is the default")
    parser.add_argument("--precision", choices=("fp32",), default="fp32")
    parser.add_argument(
        "--lm", help="the 5 Hz LM, a folder there, or none (default: acestep-5Hz-lm-0.6B, else the only one)"
    )
    parser.add_argument(
        "--lm-duration-max", type=_duration, help="seconds that the LM may choose at most (default: 600; embedded: 60)"
    )
    parser.add_argument("--lm-device", choices=("auto", "cpu", "cuda"), default="auto", help="where lm_pt computes")
    parser.add_argument("--build", type=Path, default=Path("build"), help="where everything is built (default: build)")
    return parser


def _duration(text: str) -> int:
    if not text.isdecimal() or not 10 <= int(text) <= 600:
        raise argparse.ArgumentTypeError(f"must be a whole number of seconds between 10 and 600, not {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
