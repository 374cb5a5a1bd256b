"""Which web pages may use an API from a browser: an origin is scheme, host and port (RFC 6454, Fetch standard)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from .exposure import is_loopback

ANY, OPAQUE = "*", "null"  # the second is the origin of files and of sandboxed frames
_LOOPBACK = re.compile(r"https?://(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?\Z")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://((?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?)\Z")
_HOST = re.compile(r"\[([^\]]*)\](?::[0-9]+)?\Z|([^:]*)(?::[0-9]+)?\Z")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}  # browsers leave them out


@dataclass(frozen=True)
class Origins:
    """`listed` are those that the operator named, None when he named none; `is_local`: no other machine is served."""

    listed: frozenset[str] | None
    is_local: bool

    @classmethod
    def of(cls, text: str | None, host: str) -> Self:
        """Those of the setting's text, for an API that listens on `host`. Errors: ValueError."""
        return cls(None if text is None else parse(text), is_loopback(host))

    @property
    def patterns(self) -> list[str | re.Pattern[str]]:
        """The origins whose pages may read answers, as quart-cors takes them."""
        if self.listed is None:
            return [_LOOPBACK] if self.is_local else []
        return list(self.listed)

    def allows(self, origin: str) -> bool:
        """Whether pages of `origin` may use the API."""
        if self.listed is None:
            return self.is_local and _LOOPBACK.match(origin) is not None
        return ANY in self.listed or origin in self.listed

    def may_change(self, origin: str | None, host: str, fetch_site: str | None) -> bool:
        """Whether a request that changes something comes from no foreign web page.

        `origin`, `host` and `fetch_site` are its headers Origin, Host and Sec-Fetch-Site; what is no browser sends the
        second alone. A page whose origin is the Host that it was loaded from is our own, unless it has only made its
        name lead to this machine (DNS rebinding). No other machine is served: then a name that is neither loopback's
        nor of a listed origin proves nothing.
        """
        if origin is None:
            return fetch_site != "cross-site" or ANY in (self.listed or ())
        if self.allows(origin):
            return True
        authority = host.lower()
        return _authority(origin) == authority != "" and (
            not self.is_local or is_loopback(_host(authority)) or authority in map(_authority, self.listed or ()))


def parse(text: str) -> frozenset[str]:
    """The origins of a comma list, as browsers write them. Errors: ValueError."""
    origins = [_as_sent(part.strip()) for part in text.split(",") if part.strip()]
    for origin in origins:
        if origin not in (ANY, OPAQUE) and not _authority(origin):
            raise ValueError(f"must be origins such as https://studio.example, null or *, with commas, not {origin!r}")
    return frozenset(origins)


def _as_sent(origin: str) -> str:
    origin = origin.lower().rstrip("/")
    return origin.removesuffix(_DEFAULT_PORTS.get(origin.partition(":")[0], ""))


def _authority(origin: str) -> str:
    """Host and port of an origin; empty for `null` and for what is none."""
    found = _ORIGIN.match(origin)
    return "" if found is None else found[1]


def _host(authority: str) -> str:
    """The host of `host:port`; of an IPv6 address without its brackets."""
    found = _HOST.match(authority)
    return "" if found is None else found[1] or found[2] or ""
