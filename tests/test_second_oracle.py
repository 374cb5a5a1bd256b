"""Every task, option and edge: the pipeline's latents and audio equal those of the tests' own second implementation."""

import pytest

from tests import exported
from tests.exported import one_thread as one_thread
from tests.support.cases import CASES
from tests.support.comparison import Host, compare

CLOSE = 1e-5


@pytest.fixture(scope="module")
def host() -> Host:
    return Host(exported.repository(), exported.TINY)


@pytest.mark.parametrize("name", CASES)
async def test_the_pipeline_equals_the_second_oracle(host, name):
    found = await compare(CASES[name], host)
    assert found.latents < CLOSE
    assert found.audio is None or found.audio < CLOSE
