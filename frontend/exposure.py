"""Who can reach an API: this machine alone, or others too."""

from __future__ import annotations

import ipaddress


def warning(host: str, key: str | None, host_setting: str, key_setting: str) -> str | None:
    """A line about an API that is open to other machines and asks nobody for a key; None when it is not."""
    if key or _is_loopback(host):
        return None
    return (f"ANYBODY WHO REACHES {host} MAY USE THIS API AND READ ITS SONGS: "
            f"{host_setting} opens it to other machines and {key_setting} is not set")


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
