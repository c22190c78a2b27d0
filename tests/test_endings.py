"""What the system or a library throws ends in one line and the right exit status."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from samples import Ngcg

NGCG = Path(sys.executable).with_name("ngcg")


class PanicException(BaseException):
    """As pyo3 raises it for a panic of a Rust library: no `Exception`."""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PanicException("called `Result::unwrap()`\non an `Err`"), "internal error"),
        (MemoryError(), "not enough memory. "),
        (MemoryError("Unable to allocate 7 EiB"), "Unable to allocate 7 EiB"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "--batch-size"),
        (RuntimeError("can't start new thread"), "no more threads"),
        (PermissionError(errno.EACCES, "Permission denied", "some/file"), "some/file: Permission"),
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), "a/b: cannot be written"),
        (OSError(errno.EILSEQ, "Invalid", "caf\udce9"), "is not UTF-8: rename it"),
        (UnicodeEncodeError("utf-8", "caf\udce9", 3, 4, "surrogates"), "is not UTF-8. Rename it"),
    ],
)
def test_one_line_and_status_1(
    ngcg: Ngcg, monkeypatch: pytest.MonkeyPatch, error: BaseException, told: str
) -> None:
    def explode(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("ngcg_cli.journeys.querying.Finder.__init__", explode)
    outcome = ngcg("query", "a")
    assert (outcome.status, outcome.out) == (1, "")
    assert told in outcome.err
    assert outcome.err.startswith("ngcg: ")
    assert outcome.err.count("\n") == 1


def _shell(command: str, folder: Path) -> tuple[int, str, str]:
    done = subprocess.run(
        ["bash", "-c", command.replace("NGCG", str(NGCG))],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_closed_stdin(town: Path) -> None:
    status, out, err = _shell(f"NGCG query - --index {town}/index <&-", town)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "standard input is closed" in err


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    command = f"cd gone && rmdir {tmp_path}/gone && NGCG index a.tif --index {tmp_path}/i"
    status, out, err = _shell(command, tmp_path)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "folder that you are in is gone" in err


TWICE = """
import os, signal, sys, threading, time
from ngcg_cli import app
from ngcg_cli.output import terminal
import ngcg_cli.journeys.querying as querying

def interrupt(*_, **__):
    threading.Thread(target=time.sleep, args=(60,)).start()  # what Python would wait for
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)

tell = terminal.error

def told(line, **more):
    os.kill(os.getpid(), signal.SIGINT)
    tell(line, **more)

querying.Finder.__init__ = interrupt
terminal.error = told
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = ["ngcg", "query", "a pond"]
app.main()
"""


def test_ctrl_c_twice() -> None:
    """The second one comes while the first is told; threads still run."""
    done = subprocess.run([sys.executable, "-c", TWICE], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "ngcg: interrupted\n")


def test_tilde_is_expanded_wherever_a_path_is_given(
    ngcg: Ngcg, town: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_backbone: Path
) -> None:
    before = signal.getsignal(signal.SIGINT)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    (home / "model").symlink_to(fake_backbone)
    (home / "a.tif").symlink_to(town / "a.tif")
    monkeypatch.setenv("NGCG_MODEL", "~/model")
    assert ngcg("index", "~/a.tif", "--tile", "64px", "--index=~/maps", "-q").status == 0
    assert (home / "maps" / "manifest.json").is_file()
    monkeypatch.setenv("NGCG_INDEX", "~/maps")
    assert ngcg("query", "~ a pond", "-k", "1").rows[0]["query"] == "~ a pond"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert os.environ["HOME"] == str(home)
    assert signal.getsignal(signal.SIGINT) is before  # whatever it was: CI may ignore it
