"""The native job API: /v1/music/*, /v1/jobs/*, /v1/models, /v1/audio, /health."""
