"""Where a listening service is reached from the machine it listens on."""

from __future__ import annotations

ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}


def url(host: str, port: int) -> str:
    """Base URL for a client on this machine; a host that means every address is reached by loopback."""
    return f"http://{ANYWHERE.get(host) or (f'[{host}]' if ':' in host else host)}:{port}"
