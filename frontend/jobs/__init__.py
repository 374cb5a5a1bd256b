"""Durable jobs: what is to be made, who makes it, what came of it."""
