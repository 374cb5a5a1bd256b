"""What all samples here are: 48 kHz, stereo."""

SAMPLE_RATE = 48_000
CHANNELS = 2
