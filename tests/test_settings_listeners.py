"""The documented variables of both listeners reach the doors of a real frontend process, and so do its flags."""

# mypy: allow-untyped-calls

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from frontend.settings import TABLE
from tests.conftest import free_ports

ROOT = Path(__file__).resolve().parent.parent
KEYS = ("ACESTEP_API_KEY", "OPENROUTER_API_KEY")


@contextmanager
def frontend(folder, env, *flags):
    """`python -m frontend` with these variables and flags alone, in a folder of its own."""
    names = {name for setting in TABLE for name in setting.names}
    outside = {name: value for name, value in os.environ.items() if name not in names}
    own = {"PYTHONPATH": str(ROOT), "ACESTEP_TMPDIR": str(folder / "state"), "TRITON_URL": "127.0.0.1:9"}
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen([sys.executable, "-m", "frontend", *flags], cwd=folder, env=outside | own | env,
                                   stdout=out, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.terminate()
            assert process.wait(timeout=20) == 0, (folder / "out").read_text()


def service(process, url):
    """What the API at `url` calls itself, once it is there."""
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        try:
            return httpx.get(f"{url}/health", trust_env=False).json()["service"]
        except httpx.ConnectError:
            time.sleep(0.02)
    pytest.fail(f"{url} does not answer")


def status(url, key=None):
    """The status of a guarded route."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.get(f"{url}/openapi.json", headers=headers, trust_env=False).status_code


def test_hosts_ports_and_keys_out_of_the_environment(tmp_path):
    native, chat = free_ports(2)
    env = {"ACESTEP_API_HOST": "127.0.0.2", "ACESTEP_API_PORT": str(native), "ACESTEP_API_KEY": "of-native",
           "OPENROUTER_HOST": "127.0.0.3", "OPENROUTER_PORT": str(chat), "OPENROUTER_API_KEY": "of-chat"}
    with frontend(tmp_path, env) as process:
        urls = f"http://127.0.0.2:{native}", f"http://127.0.0.3:{chat}"
        assert [service(process, url) for url in urls] == ["ACE-Step API", "ACE-Step OpenRouter API"]
        assert [status(url) for url in urls] == [401, 401]
        assert [status(url, "of-native") for url in urls] == [200, 401]
        assert [status(url, "of-chat") for url in urls] == [401, 200]
        for port in (native, chat):
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False)


def test_an_empty_key_is_none_and_flags_win(tmp_path):
    native, chat, other = free_ports(3)
    env = {"ACESTEP_API_PORT": str(other), "OPENROUTER_PORT": str(chat)} | dict.fromkeys(KEYS, " ")
    with frontend(tmp_path, env, "--host", "127.0.0.4", "--port", str(native), "--api-key", " ") as process:
        urls = f"http://127.0.0.4:{native}", f"http://127.0.0.1:{chat}"
        assert [service(process, url) for url in urls] == ["ACE-Step API", "ACE-Step OpenRouter API"]
        assert [status(url) for url in urls] == [200, 200]
