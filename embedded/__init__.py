"""A real Triton Inference Server without Docker: launcher, supervisor and stand-ins for the official C++ backends."""
