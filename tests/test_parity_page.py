"""docs/parity.md, which make parity writes: every case stands in it, and none is further off than 1e-5."""

import re

from tests import exported
from tests.support.cases import CASES, XL

PAGE = exported.ROOT / "docs" / "parity.md"
ROW = re.compile(r"^\| ([^|]+) \| acestep-[^|]+ \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)

def test_every_case_is_on_the_page_and_equal():
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    assert [name for name, _, _ in rows] == [*CASES, *XL]
    for name, second, _ in rows:
        errors = [float(number) for number in second.split(", audio ")]
        assert max(errors) <= 1e-5, name
        assert len(errors) == 1 + (CASES | XL)[name].with_audio, name


def test_diffusers_is_named_where_a_task_can_be_made_by_it():
    rows = {name: remark for name, _, remark in ROW.findall(PAGE.read_text(encoding="utf-8"))}
    for name, case in CASES.items():
        number = re.match(r"\d[\d.e-]*", rows[name])
        assert (number is not None) == (case.diffusers is not None), name
        assert number is None or float(number[0]) <= 1e-5, name
