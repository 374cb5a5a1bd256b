"""`make parity`: how far the pipeline's songs are from those of the two oracles, as the page docs/parity.md."""

import argparse
import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import diffusers
import torch

from pipeline.errors import SongError
from tests import exported, exported_xl
from tests.support.cases import OPTIONS, TASKS, TOGETHER, XL, Case
from tests.support.comparison import Host, compare, relative_error
from tests.support.diffusers_song import diffusers_latents

_HEAD = """\
# Parity

Written by `make parity`. Each case is one short song of an embedded model (10 s, few steps, fp32, ONNX Runtime on the
CPU), made by the pipeline's own code in one process and by an oracle from the same seed. An error is the largest
deviation of any latent, in units of the largest latent; with "audio", of any sample too. `tests/test_second_oracle.py`
holds every case against the second oracle to 1e-5.

- **Second oracle**: `tests/support/oracle/`, written for the tests from published formulas and texts. It calls the
  exported graphs and does by itself what is around them: texts, masks, context, schedule, guidance, steps, repaint,
  splice. The graphs are held to PyTorch in [graphs.md](graphs.md).
- **diffusers** {diffusers}: its `AceStepPipeline` in PyTorch, with this project's noise; a remark says what it does
  otherwise. It has none of the options below.

XL's condition graph is a black box here as every graph is: `tests/test_timbre_token.py` holds it to a timbre encoder
in numpy. diffusers' own condition encoder leaves XL's timbre token out (that row is off by 1.7 times its largest
value), so on XL its pipeline runs around this project's encoder.

The original project's own code (ACE-Step-1.5 at 6d467e4, `generate_music` whole, fp32) was run once on the same
weights, on 2026-11-27: 261 cases, among them every task, sampler and option on this page and their combinations. The
largest error is 4.2e-6, except where this project decided otherwise: a source or song off the frame grid has a last
frame that the original drops (also where float rounding makes it drop one: 10.04 s, 1.16 s), a turbo's shift snaps to
1, 2 or 3, SDE takes the shifted t on base models, a cover strength counts what is left of own timesteps, the later
prompt of a cover is not cut to the length of the first, an outpainted song's prompt says its new length, and only
covers (and songs that follow codes) may begin at their source.
"""
_TABLE = "\n## {title}\n\n| case | model | second oracle | diffusers |\n| --- | --- | --- | --- |\n"


@dataclass(frozen=True)
class Row:
    """One line of the page; None is not compared, a text is why the pipeline refused the case."""

    name: str
    case: Case
    second: float | str
    audio: float | None
    diffusers: float | None

    def line(self) -> str:
        """The line in Markdown."""
        second = self.second if isinstance(self.second, str) else _number(self.second)
        if self.audio is not None:
            second += f", audio {_number(self.audio)}"
        remarks = [*([] if self.diffusers is None else [_number(self.diffusers)]), *filter(None, [self.case.note])]
        by_diffusers = "; ".join(remarks) or "–"
        return f"| {self.name} | {self.case.model} | {second} | {by_diffusers} |\n"


async def measure(name: str, case: Case, host: Host) -> Row:
    """The row of a case."""
    try:
        error = await compare(case, host)
    except SongError as refused:
        return Row(name, case, f"refused: {refused.line()}", None, None)
    by_diffusers = None
    if case.diffusers is not None:
        done = error.song.done
        ours = error.song.latents[0]
        theirs = diffusers_latents(host.checkpoints, case, len(ours), len(done.schedule), done.duration)
        by_diffusers = relative_error(ours, theirs)
    return Row(name, case, error.latents, error.audio, by_diffusers)


def page(tables: Mapping[str, list[Row]]) -> str:
    """The page of its tables."""
    text = _HEAD.format(diffusers=diffusers.__version__)
    for title, rows in tables.items():
        text += _TABLE.format(title=title) + "".join(row.line() for row in rows)
    return text


def _number(error: float) -> str:
    return f"{error:.1e}" if error else "0"


def main() -> int:
    """Prints the page; progress goes to stderr. Fails when a case is refused or further off than 1e-5."""
    argparse.ArgumentParser(prog="python -m bench.parity", description=__doc__).parse_args()
    torch.set_num_threads(1)
    embedded = Host(exported.repository(), exported.TINY)
    xl = Host(exported_xl.repository(), exported_xl.checkpoints())
    parts = {"Tasks": (TASKS, embedded), "Options": (OPTIONS, embedded), "Options together": (TOGETHER, embedded),
             "XL": (XL, xl)}
    tables: dict[str, list[Row]] = {}
    for title, (cases, host) in parts.items():
        tables[title] = []
        for name, case in cases.items():
            row = asyncio.run(measure(name, case, host))
            tables[title].append(row)
            print(row.line(), end="", file=sys.stderr, flush=True)
    sys.stdout.write(page(tables))
    rows = [row for rows in tables.values() for row in rows]
    far = [row.name for row in rows if isinstance(row.second, str) or max(row.second, row.audio or 0) > 1e-5]
    if far:
        print(f"parity: not equal: {'; '.join(far)}", file=sys.stderr)
    return 1 if far else 0


if __name__ == "__main__":
    sys.exit(main())
