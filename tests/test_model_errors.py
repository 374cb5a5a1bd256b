"""What Triton says of a model that the pipeline called, as clients hear it."""

import pytest

from pipeline.errors import FAULT, NOT_READY, broken


@pytest.mark.parametrize(("said", "status", "line"), [
    ("Request for unknown model: 'lm' is not found", NOT_READY,
     "[503] model lm is not available: Request for unknown model: 'lm' is not found"),
    ("onnx runtime error 6: Non-zero status code\n at /opt/tritonserver/src/session.cc:12 '/srv/models/x/1/model.onnx'",
     FAULT, "[500] model lm failed: onnx runtime error 6: Non-zero status code at session.cc:12 'model.onnx'"),
    ("a/b of 4/4 and https://x.y/z/w stay", FAULT, "[500] model lm failed: a/b of 4/4 and https://x.y/z/w stay"),
    ("file:///home/u/x.bin is away", FAULT, "[500] model lm failed: file://x.bin is away"),
    ("x" * 10_000, FAULT, f"[500] model lm failed: {'x' * 500}"),
])
def test_a_line_without_folders(said: str, status: int, line: str) -> None:
    error = broken("lm", said)
    assert (error.status, error.line()) == (status, line)
