"""What is not whole yet: hidden, under a lock, and cleared away when its process was killed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from samples import Ngcg

from ngcg_cli.beside import beside, put_folder, sweep, workshop
from ngcg_cli.errors import NgcgError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")

WRITE = """
with beside(Path("a.csv")) as path:
    path.write_text("half")
    print("begun", flush=True)
    path.write_text(input())
"""
# Killed when the old folder was moved away and the new one is not there yet.
REPLACE = """
rename = Path.rename
def once(self, target):
    rename(self, target)
    os.kill(os.getpid(), 9)
Path.rename = once
with workshop(Path()) as shop:
    (shop / "best").mkdir()
    (shop / "best" / "new").touch()
    put_folder(shop / "best", Path("best"))
"""
CROPS = """
from ngcg_cli.journeys.querying import Answer
from ngcg_cli.output.crops import Crops
def answers():
    Path("crops/0001-001.tif").write_text("a crop")
    yield Answer("a pond", [])
    os.kill(os.getpid(), 9)
list(Crops(Path("crops")).of(answers()))
"""

Child = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def child(tmp_path: Path) -> Child:
    """Starts a program in a process of its own, in the test's folder."""

    def start(program: str) -> subprocess.Popen[str]:
        names = "import os; from pathlib import Path; from ngcg_cli.beside import *\n"
        return subprocess.Popen(
            [sys.executable, "-c", names + program],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    return start


def _begun(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"


def test_what_a_killed_process_left_goes_with_the_next_file(child: Child, tmp_path: Path) -> None:
    process = child(WRITE)
    _begun(process)
    process.kill()
    process.communicate()
    (left,) = tmp_path.iterdir()
    assert (left / "a.csv").read_text() == "half"
    with beside(tmp_path / "b.csv") as path:
        path.write_text("whole")
    assert os.listdir(tmp_path) == ["b.csv"]


def test_what_another_process_writes_stays(child: Child, tmp_path: Path) -> None:
    process = child(WRITE)
    _begun(process)
    with beside(tmp_path / "a.csv") as path:
        path.write_text("of this process")
    assert (tmp_path / "a.csv").read_text() == "of this process"
    process.communicate("of the other\n")
    assert process.returncode == 0
    assert (tmp_path / "a.csv").read_text() == "of the other"
    assert os.listdir(tmp_path) == ["a.csv"]


def test_a_folder_that_was_about_to_be_replaced_is_put_back(child: Child, tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "old").touch()
    process = child(REPLACE)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "best").exists()
    sweep(tmp_path)
    assert os.listdir(tmp_path) == ["best"]
    assert os.listdir(tmp_path / "best") == ["old"]


def test_a_folder_that_cannot_come_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "old").touch()
    with pytest.raises(FileNotFoundError), workshop(tmp_path) as shop:
        put_folder(shop / "best", tmp_path / "best")
    assert os.listdir(tmp_path / "best") == ["old"]
    assert os.listdir(tmp_path) == ["best"]


def test_what_only_looks_like_ours_stays(tmp_path: Path) -> None:
    held = {".ngcg-a": ".ngcg.lock", ".ngcg-abcdefgh": "a", ".ngcg-abcdefghi": ".ngcg.lock"}
    for folder, file in held.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).touch()
    (tmp_path / ".ngcg-abcdefg1").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / ".ngcg.lock").touch()
    (tmp_path / ".ngcg-abcdefg2").symlink_to("elsewhere")
    before = sorted(tmp_path.rglob("*"))
    sweep(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_another_user_made_stays(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, who can give a folder away")
    shop = tmp_path / ".ngcg-abcdefgh"
    shop.mkdir()
    (shop / ".ngcg.lock").touch()
    os.chown(shop, 12345, -1)
    sweep(tmp_path)
    assert os.listdir(shop) == [".ngcg.lock"]
    os.chown(shop, os.geteuid(), -1)
    sweep(tmp_path)
    assert os.listdir(tmp_path) == []


def test_links_of_a_stranger_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "home" / "letters").mkdir(parents=True)
    (tmp_path / "received" / ".ngcg-abcdefgh").mkdir(parents=True)
    shop = tmp_path / "received" / ".ngcg-abcdefgh"
    (shop / ".ngcg.lock").touch()
    for name in (".ngcg.replaced", "letters"):
        (shop / name).symlink_to(tmp_path / "home")
    sweep(tmp_path / "received")
    assert os.listdir(tmp_path / "received") == []
    assert os.listdir(tmp_path / "home") == ["letters"]
    shop.mkdir()
    (shop / ".ngcg.lock").symlink_to(tmp_path / "home" / "letters")
    sweep(tmp_path / "received")
    assert shop.exists()
    assert os.listdir(tmp_path / "home") == ["letters"]


def test_without_locks_files_are_written_and_nothing_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", none)
    with beside(tmp_path / "a.csv") as first:
        first.write_text("first")
        with beside(tmp_path / "b.csv") as second:
            second.write_text("second")
        assert first.read_text() == "first"
    assert sorted(os.listdir(tmp_path)) == ["a.csv", "b.csv"]


def test_where_every_lock_seems_taken_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(*_: object) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("fcntl.flock", taken)
    with pytest.raises(NgcgError, match="gives no lock"), beside(tmp_path / "a.csv"):
        pass
    assert os.listdir(tmp_path) == []


def test_a_folder_where_nothing_can_be_made_is_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(NgcgError, match=r"none/a\.csv: cannot be written: No such file"),
        beside(tmp_path / "none" / "a.csv"),
    ):
        pass


def test_crops_are_made_anew_where_a_run_was_killed(
    child: Child, ask: Ngcg, tmp_path: Path
) -> None:
    (tmp_path / "crops").mkdir()
    process = child(CROPS)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert ask("a pond", "-k", 1, "--crops", "crops").status == 0
    made = sorted(os.listdir(tmp_path / "crops"))
    assert made == ["0001-001.png", "0001-001.tif", "crops.jsonl"]
