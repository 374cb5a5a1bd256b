"""Every setting of the service in one table: environment, command line, `.env`, docs and defaults come from it.

Nothing heavy is imported here: the launcher and the song command read the same table before any model or server exists.
"""

from .dotenv import read_dotenv
from .setting import SettingsError
from .settings import Settings, add_arguments, load, resolve
from .table import HINTS, TABLE

__all__ = ["HINTS", "TABLE", "Settings", "SettingsError", "add_arguments", "load", "read_dotenv", "resolve"]
