"""A second implementation of a song's rules, written for the tests alone: plain, slow, and from the published sources.

Nothing here imports diffusers, or of the pipeline more than the noise that a seed means. "Upstream" is ACE-Step 1.5 at
commit 6d467e4 (2026-06-26), whose rules are told here in words and formulas of our own; where the project decided
otherwise, the function says so.
"""
