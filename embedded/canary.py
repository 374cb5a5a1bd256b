"""A request through the whole pipeline model, over and over: readiness stays green when a stub is dead or hangs."""

from __future__ import annotations

import threading
import time

from embedded.triton_control import TritonControl, TritonError


class Canary:
    """Sings every `interval` seconds in a thread of its own; `silent_for` says how long it has not been heard."""

    def __init__(self, address: str, interval: float = 2.0, timeout: float = 5.0) -> None:
        self._control = TritonControl(address)
        self._interval = interval
        self._timeout = timeout
        self._heard = time.monotonic()
        self._stop = threading.Event()
        self.complaint = ""
        self._thread = threading.Thread(target=self._sing, name="canary", daemon=True)
        self._thread.start()

    def _sing(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self._control.ping(self._timeout)
            except TritonError as error:
                self.complaint = str(error)
            except ValueError:  # the channel was closed under it
                return
            else:
                self._heard = time.monotonic()

    def silent_for(self) -> float:
        """Seconds since the last answer."""
        return time.monotonic() - self._heard

    def forgive(self) -> None:
        """Start counting anew: the model was just brought back."""
        self._heard = time.monotonic()

    def close(self) -> None:
        self._stop.set()
        self._control.close()
