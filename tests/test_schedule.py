"""Timestep schedules are the documented ones."""

import pytest

from pipeline.errors import SongError
from pipeline.schedule import TURBO_VALUES, custom_schedule, shifted, turbo_schedule

# The tables of the distilled models, as published.
TABLES = {
    1: [1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125],
    2: [1.0, 0.9333333333333333, 0.8571428571428571, 0.7692307692307693, 0.6666666666666666, 0.5454545454545454, 0.4,
        0.2222222222222222],
    3: [1.0, 0.9545454545454546, 0.9, 0.8333333333333334, 0.75, 0.6428571428571429, 0.5, 0.3],
}


@pytest.mark.parametrize("shift", [1, 2, 3])
def test_eight_turbo_steps_are_the_table(shift):
    assert turbo_schedule(8, shift) == pytest.approx(TABLES[shift], abs=1e-15)


@pytest.mark.parametrize(("shift", "snapped"), [(1.2, 1), (1.8, 2), (2.6, 3), (5.0, 3)])
def test_turbo_shift_snaps(shift, snapped):
    assert turbo_schedule(8, shift) == pytest.approx(TABLES[snapped], abs=1e-15)


def test_base_takes_any_shift_and_step_count():
    schedule = shifted(50, 4.5)
    assert len(schedule) == 50
    assert schedule[0] == 1.0
    assert schedule[25] == pytest.approx(4.5 * 0.5 / (1 + 3.5 * 0.5))


def test_twenty_values_to_snap_to():
    assert sorted({v for table in TABLES.values() for v in table}, reverse=True) == pytest.approx(TURBO_VALUES)
    assert len(TURBO_VALUES) == 20


def test_documented_custom_example_snaps_on_turbo():
    asked = [0.97, 0.76, 0.615, 0.5, 0.395, 0.28, 0.18, 0.085, 0]
    snapped = [21 / 22, 10 / 13, 0.625, 0.5, 0.4, 0.3, 2 / 9, 0.125]
    assert custom_schedule(asked, is_turbo=True) == pytest.approx(snapped)


def test_custom_is_verbatim_on_base():
    assert custom_schedule([0.9, 0.33, 0.1, 0], is_turbo=False) == (0.9, 0.33, 0.1)


@pytest.mark.parametrize(
    ("timesteps", "turbo", "text"),
    [
        ([], False, "lie in"), ([0], False, "lie in"), ([0.5, 0, 0], False, "lie in"), ([1.2, 0.5], False, "lie in"),
        ([0.5, -0.1], False, "lie in"), ([0.5, 0.5], False, "decrease"), ([0.2, 0.5], True, "decrease"),
        ([1 - i / 30 for i in range(21)], True, "at most 20"),
    ],
)
def test_bad_custom_schedules_name_the_field(timesteps, turbo, text):
    with pytest.raises(SongError, match=f"timesteps: .*{text}"):
        custom_schedule(timesteps, is_turbo=turbo)
