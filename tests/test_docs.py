"""What the service offers is documented: every route and every metric."""

import re
from pathlib import Path

from frontend import metrics
from frontend.native.routes import create_app
from frontend.services import Services
from frontend.settings import resolve
from pipeline.metrics import METRICS, describe_metrics

DOCS = Path(__file__).parent.parent / "docs"


async def test_every_route_is_in_the_docs_and_the_other_way_round():
    services = Services(resolve({"native_api_key": "key"}, {}, {}))
    rules = [rule for rule in create_app(services).url_map.iter_rules() if rule.endpoint != "static"]
    await services.songs.close()
    served = {f"{method} {rule.rule}" for rule in rules for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    documented = set(re.findall(r"^\| `((?:GET|POST|DELETE) [^`]+)`", (DOCS / "api.md").read_text(), re.MULTILINE))
    assert documented == served


def test_the_metrics_table_is_the_served_one():
    assert (DOCS / "metrics.md").read_text() == f"{describe_metrics()}\n{metrics.describe_metrics()}\n"


def test_metric_names_carry_their_unit():
    for metric in (*METRICS, *metrics.METRICS):
        assert metric.name.startswith("acestep_")
        assert (metric.kind == "counter") == metric.name.endswith("_total")
