"""What this Python must have beside itself: `PYTHON embedded/interpreter.py`, before a virtual environment is made.

A program of its own, since the packages are not there yet: only the standard library, nothing of this package.
"""

import os
import sys
import sysconfig

SYSTEM_LIBRARIES = (
    "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib",
)


def minor() -> str:
    """This interpreter's version, like 3.11."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def libpython_name() -> str:
    """File name of the shared Python library that the stub of this interpreter's version links to."""
    return f"libpython{minor()}.so.1.0"


def libpython_folder() -> str | None:
    """Folder of this interpreter's shared library; the interpreter's own comes before the system's."""
    configured = sysconfig.get_config_var("LIBDIR")
    folders = [os.path.join(sys.base_prefix, "lib"), *([configured] if configured else []), *SYSTEM_LIBRARIES]
    return next((folder for folder in folders if os.path.isfile(os.path.join(folder, libpython_name()))), None)


def libpython_problem() -> str | None:
    """One line about the missing shared library, None if it is there."""
    if libpython_folder() is not None:
        return None
    return (f"{libpython_name()} is missing: `apt install libpython{minor()}` (Debian, Ubuntu), "
            f"`dnf install python{minor()}-libs` (Fedora), or a Python built with --enable-shared")


def venv_problem() -> str | None:
    """One line about the missing venv module, which Debian packages apart; None if it is there."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return f"{sys.executable} has no venv module: `apt install python{minor()}-venv` (Debian, Ubuntu)"
    return None


if __name__ == "__main__":
    if found := venv_problem() or libpython_problem():
        sys.exit(f"setup: {found}")
