"""A bounded memory of ids."""


class RecentIds:
    """The last `size` different ids that were added."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._ids: dict[str, None] = {}

    def add(self, name: str) -> None:
        self._ids[name] = None
        if len(self._ids) > self.size:
            del self._ids[next(iter(self._ids))]

    def __contains__(self, name: str) -> bool:
        return name in self._ids
