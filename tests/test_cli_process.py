"""The installed command in a process of its own: what only shows there."""

from __future__ import annotations

import json
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from samples import write_raster

NGCG = Path(sys.executable).with_name("ngcg")
HEAVY = ("torch", "transformers", "peft", "rasterio", "pyarrow", "numpy", "rich", "shapely")


def ngcg(*args: object, **more: object) -> subprocess.CompletedProcess[str]:
    command = [str(NGCG), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, **more)


def test_the_installed_command_and_the_module_are_one() -> None:
    installed = ngcg("--version")
    module = subprocess.run(
        [sys.executable, "-m", "ngcg_cli", "--version"], capture_output=True, text=True
    )
    assert installed.returncode == module.returncode == 0
    assert installed.stdout == module.stdout != ""
    wrong = subprocess.run([sys.executable, "-m", "ngcg_cli", "nope"], capture_output=True)
    assert wrong.returncode == 2


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = used()
    assert ngcg("--help").returncode == 0
    assert used() - before < 0.3  # processor time, so that a busy machine does not matter

    program = "import sys; from ngcg_cli.app import run; run(['--help']); print(*sys.modules)"
    listed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert listed.returncode == 0
    assert not set(HEAVY) & set(listed.stdout.splitlines()[-1].split())


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, fake_backbone: Path) -> Path:
    from ngcg_cli.app import run

    folder = tmp_path_factory.mktemp("process")
    source = str(write_raster(folder / "a.tif", 1))
    args = ["--index", str(folder / "index"), "--model", str(fake_backbone), "--tile", "32px"]
    assert run(["index", source, *args, "--overlap", "0", "-q"]) == 0
    return folder / "index"


@pytest.mark.slow
def test_a_query_is_light_and_its_output_is_pure(index: Path) -> None:
    """One process proves: only results on stdout, silence on stderr, and no needless imports."""
    program = (
        "import sys; from ngcg_cli.app import run; status = run(sys.argv[1:]); "
        "print(*sys.modules, file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "query", "a pond", "--index", str(index), "-k", "3"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert [json.loads(line)["rank"] for line in done.stdout.splitlines()] == [1, 2, 3]
    (modules,) = done.stderr.splitlines()  # the line of the program above, none of the libraries'
    unneeded = {"peft", "rasterio", "shapely", "pyproj", "rich", "hnswlib", "matplotlib"}
    assert not unneeded & set(modules.split())


@pytest.mark.slow
def test_head_ends_a_query_quietly(index: Path) -> None:
    lines = "".join(f"pond number {i}\n" for i in range(150))
    command = f"set -o pipefail; {shlex.quote(str(NGCG))} query - -k 16 --index {index} | head -n 1"
    done = subprocess.run(
        ["bash", "-c", command], input=lines, capture_output=True, text=True, timeout=600
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["rank"] == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_disk_is_told(index: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [NGCG, "models", "--help"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr == "ngcg: the output: cannot be written: No space left on device\n"


def test_a_closed_output_is_told_where_something_was_to_be_written() -> None:
    for command, status in (("models", 1), ("models --help", 1), ("no-such-command", 2)):
        done = subprocess.run(
            ["bash", "-c", f"{NGCG} {command} >&-"], capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (status, "")
        assert done.stderr.count("\n") == 1
        assert ("standard output is closed" in done.stderr) == (status == 1)


# Ctrl-C, or the SIGTERM that systems end a job with, while the third block is being committed, in a
# process with its threads running.
INTERRUPTED = """
import os, signal, sys
from ngcg_cli.app import run
from ngcg_cli.search import TileIndex

commit, commits = TileIndex.commit, []

def commit_and_interrupt(index, blocks):
    commit(index, blocks)
    commits.append(len(blocks))
    if len(commits) == 3:
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))

TileIndex.commit = commit_and_interrupt
# A suite started in the background of a script inherits that Ctrl-C is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(run(sys.argv[2:]))
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.slow
def test_interrupted_indexing_keeps_what_is_done_and_a_second_run_finishes(
    tmp_path: Path, fake_backbone: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    from ngcg_cli.app import run
    from ngcg_cli.search import TileIndex

    for seed in range(8):
        write_raster(tmp_path / "rasters" / f"{seed}.tif", seed, west=500_000.0 + 500 * seed)
    args = ["index", tmp_path / "rasters", "--index", tmp_path / "index", "--model", fake_backbone]
    args += ["--tile", "8px", "--overlap", "0", "--block", "48", "--json"]
    words = list(map(str, args))
    stopped = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, name, *words],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert (stopped.returncode, stopped.stdout) == (130, "")
    doubt, told, interrupted = stopped.stderr.splitlines()
    assert "a tile is 8 x 8 of its pixels" in doubt
    kept = TileIndex.open(tmp_path / "index").tile_count
    assert f"{kept:,} tiles of this run are in the index; give the same command again" in told
    assert interrupted == "ngcg: interrupted"
    assert 3 * 48 <= kept < 8 * 256

    assert run(words) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["tiles"] == 8 * 256
    assert report["added"] == 8 * 256 - kept
