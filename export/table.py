"""`python -m export.table`: how far each exported graph is from PyTorch, as the page docs/graphs.md."""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .build import Request, export
from .errors import ExportError
from .graph import FACTOR, FLOOR

_HEAD = """\
# Graphs

Written by `python -m export.table > docs/graphs.md`, which exports the embedded checkpoint where that is not done yet
and reads what the export measured. Each graph ran in ONNX Runtime on the CPU, in {precision}, on every case listed;
the expected values come from the modules of diffusers and transformers with the same weights, in float64. An error is
the largest deviation of any output, in units of that output's largest value; in brackets each case's, and after the
slash that of PyTorch's own modules in float32. Padding is not compared: a song among others is expected to be as if
alone. Codes must be equal, but for those within 1e-4 of a level of a rounding border, where PyTorch's own rounding
errors decide. The condition of an XL model is compared with diffusers' encoder and a timbre encoder of ours in it,
which reads a learned token before the reference as upstream's XL code does (diffusers' own leaves it out).

The export refuses a graph, of the embedded checkpoint and of any other, whose error is more than rounding: more than
{factor:g} times PyTorch's own on that case, and more than {floor:.0e}. Rounding errors grow with depth and with the
weights, so a fixed bound would refuse a right graph of a deep model or let a wrong one pass: of a random DiT with 24
layers, one layer's scores off by 0.01 % move the velocity by 4e-6, six times PyTorch's own error and under a bound of
1e-5. The same numbers stand in the `manifest.json` beside each model.

{versions}; opset {opset}.

| graph | largest error | cases |
| --- | --- | --- |
"""

Manifest = Mapping[str, Any]


def table(manifests: Iterable[Manifest]) -> str:
    """The page, from the manifests of one repository."""
    ordered = sorted(manifests, key=lambda manifest: ("-" in manifest["name"], manifest["name"]))
    first = ordered[0]
    versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
    head = _HEAD.format(
        factor=FACTOR, floor=FLOOR, precision=first["precision"], opset=first["opset"], versions=versions)
    return head + "".join(_row(manifest) for manifest in ordered)


def manifests(repository: Path) -> list[Manifest]:
    """What the export noted of each graph of a repository."""
    return [json.loads(path.read_text()) for path in sorted(repository.glob("*/manifest.json"))]


def _row(manifest: Manifest) -> str:
    errors = manifest["max_relative_error"]
    own = manifest["pytorch_relative_error"]
    cases = "; ".join(f"{label} ({_number(error)} / {_number(own[label])})" for label, error in errors.items())
    return f"| `{manifest['name']}` | {_number(max(errors.values()))} | {cases} |\n"


def _number(error: float) -> str:
    return f"{error:.1e}" if error else "0"


def main() -> int:
    """Prints the page; what the export reports goes to stderr."""
    parser = argparse.ArgumentParser(prog="python -m export.table", description=__doc__)
    parser.add_argument("--build", type=Path, default=Path("build"), help="where everything is built (default: build)")
    request = Request(build=parser.parse_args().build)
    try:
        repository = export(request, lambda line: print(f"export: {line}", file=sys.stderr, flush=True))
    except ExportError as error:
        print(f"export: {error}", file=sys.stderr)
        return 2
    sys.stdout.write(table(manifests(repository)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
