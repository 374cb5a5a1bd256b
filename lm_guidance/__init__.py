"""Guided, constrained and reproducible sampling of the ACE-Step 5 Hz LM."""
