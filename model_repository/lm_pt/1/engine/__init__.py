"""The 5 Hz LM in plain PyTorch: a song's conditional and unconditional row in one loop, one song after the other."""
