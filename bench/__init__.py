"""Benchmarks: figures with their command, never tests."""
