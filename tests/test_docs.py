"""What the service offers is documented: every route and every metric."""

import re
from pathlib import Path

from frontend import metrics
from frontend.chat import routes as chat_routes
from frontend.chat.fields import TABLE as CHAT_FIELDS
from frontend.native.routes import create_app
from frontend.services import Services
from frontend.settings import resolve
from pipeline.metrics import METRICS, describe_metrics

DOCS = Path(__file__).parent.parent / "docs"


async def test_every_route_is_in_the_docs_and_the_other_way_round():
    services = Services(resolve({"native_api_key": "key"}, {}, {}))
    apps = (create_app(services), chat_routes.create_app(services))
    rules = [rule for app in apps for rule in app.url_map.iter_rules() if rule.endpoint != "static"]
    await services.songs.close()
    served = {f"{method} {rule.rule.replace('<path:', '<')}" for rule in rules
              for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    documented = set(re.findall(r"^\| `((?:GET|POST|DELETE) [^`]+)`", (DOCS / "api.md").read_text(), re.MULTILINE))
    assert documented == served


def test_every_field_of_a_chat_request_is_in_the_docs_and_the_other_way_round():
    text = (DOCS / "api.md").read_text().partition("### Fields\n")[2].partition("### Answers")[0]
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == [entry.name for entry in CHAT_FIELDS]
    assert {"messages", "audio_config"} <= set(re.findall(r"`(\w+)`", text.partition("<!-- made")[0]))


def test_the_metrics_table_is_the_served_one():
    assert (DOCS / "metrics.md").read_text() == f"{describe_metrics()}\n{metrics.describe_metrics()}\n"


def test_metric_names_carry_their_unit():
    for metric in (*METRICS, *metrics.METRICS):
        assert metric.name.startswith("acestep_")
        assert (metric.kind == "counter") == metric.name.endswith("_total")
