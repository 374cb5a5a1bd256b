"""docs/graphs.md: every exported graph, on every case it was measured on, as near to PyTorch as it is to itself."""

import re
import subprocess
import sys

from export.table import manifests
from tests import exported

PAGE = exported.ROOT / "docs" / "graphs.md"
ROW = re.compile(r"^\| `([^`]+)` \| ([^|]+) \| (.+) \|$", re.MULTILINE)


def rows(page: str) -> dict[str, tuple[float, dict[str, float]]]:
    """Graph -> its largest error, and the error of each case."""
    found = {}
    for name, worst, cases in ROW.findall(page):
        pairs = re.findall(r"(?:^|; )(.+?) \(([0-9.e-]+) / [0-9.e-]+\)(?=;|$)", cases)
        found[name] = (float(worst), {label: float(error) for label, error in pairs})
    return found


def test_the_page_lists_every_graph_and_every_case():
    graphs = sorted(path.parent.parent.name for path in exported.repository().glob("*/1/model.onnx"))
    page = rows(PAGE.read_text())
    assert sorted(page) == graphs
    for manifest in manifests(exported.repository()):
        assert page[manifest["name"]][1].keys() == manifest["max_relative_error"].keys()


def test_every_graph_is_within_2e_6_of_pytorch_on_the_page_and_here():
    for worst, cases in rows(PAGE.read_text()).values():
        assert len(cases) >= 3
        assert worst == max(cases.values()) <= exported.CLOSE
    for manifest in manifests(exported.repository()):
        assert manifest["precision"] == "fp32"
        assert max(manifest["max_relative_error"].values()) <= exported.CLOSE


def test_the_command_prints_the_page():
    command = [sys.executable, "-m", "export.table", "--build", str(exported.BUILD)]
    done = subprocess.run(command, cwd=exported.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = PAGE.read_text()
    assert done.stdout.partition("\n\n")[0] == text.partition("\n\n")[0]
    assert rows(done.stdout).keys() == rows(text).keys()
