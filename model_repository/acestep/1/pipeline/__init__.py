"""The song pipeline: a request becomes text and noise, latents, and audio.

Everything here but `bls.py` runs without Triton; read `song.py` first, it is the way of a song from top to bottom.
"""
