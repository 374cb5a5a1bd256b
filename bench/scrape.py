"""Triton's metrics page as numbers."""

import re

import httpx

_LINE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")


def scrape(address: str) -> list[tuple[str, str, float]]:
    """Every sample of the page: name, label text, value."""
    text = httpx.get(f"http://{address}/metrics", timeout=10).text
    return [(m[1], m[2] or "", float(m[3])) for line in text.splitlines() if (m := _LINE.match(line))]


def total(samples: list[tuple[str, str, float]], name: str, label: str = "") -> float:
    """The sum of a family's samples whose label text holds `label`."""
    return sum(value for family, labels, value in samples if family == name and label in labels)
