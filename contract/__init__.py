"""What frontend, pipeline and export agree on, each fact declared once. It needs no Triton, no torch and no Quart."""
