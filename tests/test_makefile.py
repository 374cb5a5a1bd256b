"""The commands that a user types, before and around the Python they start; interpreters here are small scripts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from embedded.lock import StateLock
from frontend.settings import TABLE

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("sh", "make", "grep", "sed", "cut", "cksum", "flock", "ls", "expand", "rm", "touch", "date", "cat", "chmod",
         "mkdir", "sleep", "cp", "test", "dirname")
# Answers what set-up asks of an interpreter, and as .venv/bin/python shows its arguments, one to a line.
INTERPRETER = r"""#!/bin/sh
case "$*" in
  -c*version_info*) echo 3.11 ;;
  *interpreter.py|"-c ") ;;
  "-m venv"*) echo venv >> made.log; mkdir -p .venv/bin; sleep 0.2; cp "$0" .venv/bin/python ;;
  "-m pip"*"-e ./contract -e ./lm_guidance") echo link >> made.log ;;
  "-m pip"*) sleep 0.1 ;;
  *) for argument in "$@"; do printf '%s\n' "$argument"; done ;;
esac
"""
MADE = "venv\nlink\n"  # what that interpreter writes down of one set-up


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in a folder whose name a shell would split, with nothing set up."""
    folder = tmp_path / "my $HOME songs"
    folder.mkdir()
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    for name in ("contract", "embedded", "export", "frontend", "lm_guidance"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A PATH with no Python on it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, tool
        (folder / tool).symlink_to(found)
    return folder


def script(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)
    return file


def start(checkout: Path, path: Path, *arguments: str) -> subprocess.Popen[str]:
    names = {name for setting in TABLE for name in setting.names} | {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "PYTHON"}
    env = {name: value for name, value in os.environ.items() if name not in names} | {"PATH": str(path)}
    return subprocess.Popen(["make", *arguments], cwd=checkout, env=env, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def make(checkout: Path, path: Path, *arguments: str) -> tuple[str, str]:
    """What `make` says: stdout, stderr without make's own complaints."""
    process = start(checkout, path, *arguments)
    out, err = process.communicate(timeout=60)
    return out, "\n".join(line for line in err.splitlines() if not re.match(r"make(\[\d+\])?: ", line))


def ready(checkout: Path, path: Path) -> None:
    python = script(path / "python3.11", INTERPRETER)
    make(checkout, path, "setup")
    assert (checkout / "made.log").read_text() == MADE
    python.unlink()


def test_no_python(checkout: Path, path: Path) -> None:
    script(path / "python3.11", "#!/bin/sh\necho 'pyenv: python3.11: command not found' >&2\nexit 127\n")
    _, said = make(checkout, path, "run")
    assert said == ("setup: Python 3.11 or 3.12 is needed and neither runs from PATH "
                    "(Debian: apt install python3.11 python3.11-venv libpython3.11)")


def test_a_dead_shim_is_passed_over(checkout: Path, path: Path) -> None:
    script(path / "python3.11", "#!/bin/sh\nexit 127\n")
    script(path / "python3.12", INTERPRETER.replace("3.11", "3.12"))
    out, said = make(checkout, path, "setup")
    assert said == ""
    assert "with python3.12 (3.12)" in out
    assert [file.name.rpartition("-")[2] for file in (checkout / ".venv").glob("installed-*")] == ["3.12"]


def test_an_interpreter_that_lacks_a_part_is_passed_over_or_says_so(checkout: Path, path: Path) -> None:
    lacking = INTERPRETER.replace("*interpreter.py|", "*interpreter.py) echo 'setup: no libpython' >&2; exit 1 ;; ")
    script(path / "python3.11", lacking)
    assert make(checkout, path, "setup") == ("", "setup: no libpython")
    assert not (checkout / ".venv").exists()
    script(path / "python3.12", INTERPRETER.replace("3.11", "3.12"))
    assert "with python3.12" in make(checkout, path, "setup")[0]


def test_python_that_the_user_names(checkout: Path, path: Path) -> None:
    assert "PYTHON=/nowhere/python does not run" in make(checkout, path, "run", "PYTHON=/nowhere/python")[1]
    old = script(path / "python3.10", INTERPRETER.replace("3.11", "3.10"))
    assert f"Python 3.11 or 3.12 is needed, {old} is 3.10" in make(checkout, path, "run", f"PYTHON={old}")[1]
    ready(checkout, path)
    newer = script(path / "newer", INTERPRETER.replace("3.11", "3.12"))
    assert "(3.12)" in make(checkout, path, "setup", f"PYTHON={newer}")[0]
    assert make(checkout, path, "setup") == ("make: Nothing to be done for 'setup'.\n", "")


def test_this_interpreter_has_what_set_up_asks_for() -> None:
    """The real check, of the interpreter that these tests run on."""
    done = subprocess.run([os.path.realpath(sys.executable), "-I", "embedded/interpreter.py"], cwd=ROOT, check=False)
    assert done.returncode == 0


def test_a_touched_lock_is_no_changed_lock(checkout: Path, path: Path) -> None:
    ready(checkout, path)
    os.utime(checkout / "requirements.lock", (4e9, 4e9))
    make(checkout, path, "run")
    assert (checkout / "made.log").read_text() == MADE
    with (checkout / "requirements.lock").open("a") as file:
        file.write("another==1\n")
    script(path / "python3.11", INTERPRETER)
    make(checkout, path, "run")
    assert (checkout / "made.log").read_text() == 2 * MADE


def test_an_environment_without_its_links_to_this_folder_gets_them(checkout: Path, path: Path) -> None:
    """One that was made before there was such a link, one that a moved checkout brought along."""
    ready(checkout, path)
    for stamp in (checkout / ".venv").glob("ready-*"):
        stamp.unlink()
    make(checkout, path, "run")
    assert (checkout / "made.log").read_text() == f"{MADE}link\n"
    moved = checkout.rename(checkout.parent / "moved songs")
    make(moved, path, "run")
    make(moved, path, "run")
    assert (moved / "made.log").read_text() == f"{MADE}link\nlink\n"
    assert len(list((moved / ".venv").glob("ready-*"))) == 1


def test_two_first_runs_make_one_environment(checkout: Path, path: Path) -> None:
    script(path / "python3.11", INTERPRETER)
    both = [start(checkout, path, "run") for _ in range(2)]
    for process in both:
        assert process.communicate(timeout=60)[0].endswith("-m\nembedded\nrun\n")
    assert (checkout / "made.log").read_text() == MADE


def test_words_arrive_as_they_were_typed(checkout: Path, path: Path) -> None:
    ready(checkout, path)
    lyrics = '[verse]\n$5 $(HOME) `date` "quoted" it\'s'
    out, said = make(checkout, path, "song", "PROMPT=-$a $$b  soft", f"LYRICS={lyrics}", "OUT=a b/$c.mp3", "SEED=7")
    assert said == ""
    assert out == f"-m\nembedded\nsong\n--prompt=-$a $$b  soft\n--lyrics={lyrics}\n--seed=7\n--out=a b/$c.mp3\n"


def test_clean_spares_the_jobs_and_a_running_stack(checkout: Path, path: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    script(checkout / ".venv" / "bin" / "python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    state = checkout / ".cache" / "acestep" / "tmp"
    for folder in (state, checkout / "build", checkout / ".ruff_cache"):
        folder.mkdir(parents=True)
    (state / "jobs.sqlite").touch()
    lock = StateLock(state)
    said = make(checkout, path, "clean")[1]
    assert said == f"embedded: a stack is running (launcher pid {os.getpid()}): stop it first"
    lock.release()
    with subprocess.Popen([sys.executable, "-c", "input()", f"{checkout}/build/x"], stdin=subprocess.PIPE) as user:
        assert f"a stack is running from {checkout}/build (pid {user.pid})" in make(checkout, path, "clean")[1]
        assert (checkout / "build").exists()
        user.communicate(b"\n")
    assert make(checkout, path, "clean")[1] == ""
    assert {each.name for each in checkout.iterdir()} >= {".cache", ".venv"}
    assert not (checkout / "build").exists()
    assert not (checkout / ".ruff_cache").exists()
    assert (state / "jobs.sqlite").exists()
