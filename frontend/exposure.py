"""Who can reach an API: this machine alone, or others too."""

from __future__ import annotations

import ipaddress


def warning(host: str, key: str | None, host_setting: str, key_setting: str) -> str | None:
    """A line about an API that is open to other machines and asks nobody for a key; None when it is not."""
    if key or is_loopback(host):
        return None
    return (f"ANYBODY WHO REACHES {host} MAY USE THIS API AND READ ITS SONGS: "
            f"{host_setting} opens it to other machines and {key_setting} is not set")


def warning_of_pages(origins: str | None, key: str | None, key_setting: str) -> str | None:
    """A line about an API that every web page may use and that asks nobody for a key; None when it is not."""
    if key or origins is None or "*" not in origins:
        return None
    return f"ANY WEB PAGE MAY USE THIS API FROM ITS READER'S BROWSER: CORS_ORIGINS is * and {key_setting} is not set"


def is_loopback(host: str) -> bool:
    """Whether a name or an address means the machine itself."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
