"""`python -m frontend.settings --docs`: docs/settings.md on standard output."""

from __future__ import annotations

import sys

from .docs import docs

if __name__ == "__main__":
    if sys.argv[1:] != ["--docs"]:
        sys.exit("usage: python -m frontend.settings --docs > docs/settings.md")
    sys.stdout.write(docs())
