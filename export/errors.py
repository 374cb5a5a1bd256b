"""The one error of this package that a user sees."""


class ExportError(Exception):
    """A checkpoint or a graph is not what it must be; the message is one line that names the folder, file or key."""
