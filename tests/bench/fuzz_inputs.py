"""Fuzzes what a stranger sends beside rasters and indexes: checkpoints, questions, data, words.

    python tests/bench/fuzz_inputs.py --count 1000 --seed 1 [--only model,adapter,...]

Everything runs in this process, so that a crash ends it: the seed and number of the input in work
are in `fuzz_inputs_at.txt` of the temporary folder then. A finding is anything but success or an
error of ours: another exception, an exit status that is not documented, "internal error", more than
--seconds or --memory, a connection, a question on the terminal, a file beside the input touched.

- model, adapter: a file of a model folder, or of a LoRA checkpoint, has bytes flipped, cut or put
  in, or parts of its JSON replaced; then it is loaded and embeds a sentence.
- lines: bytes as `query -` reads them, in pieces of any size.
- rows: JSON Lines as `train` and `eval` load them.
- words: command lines of `query`, `info`, `remove`, `merge` and `eval` from a list of odd words.
"""

from __future__ import annotations

import argparse
import builtins
import contextlib
import faulthandler
import io
import logging
import os
import random
import resource
import shutil
import socket
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import input_cases as cases
from small_models import write_adapter, write_smolvlm

from ngcg_cli.app import run
from ngcg_cli.output import terminal

WORDS = (
    *("query", "info", "remove", "merge", "eval", "-", "--", "-k", "0", "3", "--top", "--json"),
    *("--format", "csv", "table", "--bbox", "1,2,3,4", "nan,1,2,3", "--near", "1,2", "--within"),
    *(
        "1e400",
        "-5",
        "--index",
        "here",
        "none",
        "--model",
        "tiny",
        "evil/repo",
        "/dev/null",
        "--out",
    ),
    *("~", "~nobody/x", "caf\udce9", "a\x1b[2Jb", "", " ", "a pond", "--image", "--exact", "-q"),
    "--out",
    *("--per-query", "x.csv", "--protocol", "places", "--data-format", "jsonl", "rows.jsonl"),
)
QUESTIONS = (
    *(
        b"a pond\n",
        b"a road\r\n",
        b"two boats\r",
        b"\xef\xbb\xbf",
        b"\n",
        "caf\u00e9 \u9053\n".encode(),
    ),
    *("\ufeffa pond\n".encode("utf-16-le"), "\ufeffa pond\n".encode("utf-32-be"), b"\x1b[2J\n"),
)
ROW = {
    "image": "a.png",
    "captions": ["a pond", "a road"],
    "lon": 10.5,
    "lat": 47.9,
    "place": "x",
    "split": "train",
}


class Fuzz:
    """The inputs, each a function that makes one and visits it."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.case = work / "case"
        os.environ.update(XDG_STATE_HOME=str(work / "state"), XDG_CACHE_HOME=str(work / "cache"))
        write_smolvlm(work / "model")
        write_adapter(work / "adapter", work / "model")
        self.kinds: dict[str, Callable[[random.Random], str]] = {
            "model": lambda rng: self._folder("model", rng),
            "adapter": lambda rng: self._folder("adapter", rng),
            "lines": self._lines,
            "rows": self._rows,
            "words": self._words,
        }

    def _folder(self, name: str, rng: random.Random) -> str:
        shutil.rmtree(self.case, ignore_errors=True)
        # Links: only what is damaged is copied.
        shutil.copytree(self.work / name, self.case, copy_function=os.symlink)
        path = rng.choice(sorted(self.case.iterdir()))
        path.unlink()
        shutil.copyfile(self.work / name / path.name, path)
        cases.damage_file(path, rng)
        return cases.outcome(lambda: cases.visit_model(self.case))

    def _lines(self, rng: random.Random) -> str:
        data = b"".join(rng.choices(QUESTIONS, k=rng.randint(0, 12)))
        data = cases.flipped(data, rng) if rng.random() < 0.7 else data
        return cases.outcome(lambda: cases.visit_lines(data, rng))

    def _rows(self, rng: random.Random) -> str:
        import json

        rows = [cases.mutated(ROW, rng) if rng.random() < 0.5 else ROW for _ in range(4)]
        data = "\n".join(map(json.dumps, rows)).encode()
        path = self.work / "rows.jsonl"
        path.write_bytes(cases.flipped(data, rng) if rng.random() < 0.5 else data)
        return cases.outcome(lambda: cases.visit_rows(path))

    def _words(self, rng: random.Random) -> str:
        words = [*rng.choices(WORDS[:5], k=1), *rng.choices(WORDS, k=rng.randint(0, 6))]
        err = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
            sys.stdin = io.TextIOWrapper(io.BytesIO(b"a pond\n"))
            status = run(words)
        told = err.getvalue()
        assert status in (0, 1, 2, 3), f"status {status} of {words}"
        assert "internal error" not in told, f"{words}: {told}"
        assert status == 0 or told.count("\n") <= 3 or words[0] == "eval", f"{words}: {told}"
        return "read" if status in (0, 3) else "refused"


def _forbid(*_: Any, **__: Any) -> Any:
    raise AssertionError("a connection, or a question on the terminal")


def _listing(folder: Path) -> set[tuple[str, int]]:
    return {(str(path), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def main() -> int:
    """Runs `--count` inputs of each kind and prints what became of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="inputs of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="kinds, separated by commas")
    parser.add_argument("--seconds", type=float, default=10, help="of processor time for one input")
    parser.add_argument("--memory", type=int, default=3 << 10, help="MiB that the process may hold")
    asked = parser.parse_args()
    # The libraries' own libraries, mapped, are several GiB.
    room = (asked.memory << 20) + (24 << 30)
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    socket.socket.connect = _forbid  # type: ignore[method-assign,assignment]
    builtins.input = _forbid
    terminal.configure(quiet=True)  # before a library is loaded: it silences them
    logging.getLogger("ngcg_cli").setLevel(logging.CRITICAL)
    findings = 0
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        inside = work / "inside"
        inside.mkdir()
        os.chdir(inside)
        fuzz = Fuzz(work)
        kinds = asked.only.split(",") if asked.only else list(fuzz.kinds)
        at_work = work.parent / "fuzz_inputs_at.txt"
        before = _listing(work / "model") | _listing(work / "adapter") | _listing(inside)
        for kind in kinds:
            ends: Counter[str] = Counter()
            began, slowest = time.process_time(), 0.0
            for number in range(asked.count):
                rng = random.Random(f"{asked.seed} {kind} {number}")
                at_work.write_text(f"--seed {asked.seed} {kind} {number}\n")
                faulthandler.dump_traceback_later(60, exit=True)
                at = time.process_time()
                try:
                    ends[fuzz.kinds[kind](rng)] += 1
                except BaseException:
                    ends["FOUND"] += 1
                    print(f"FOUND: {kind} {number}\n{traceback.format_exc()}", file=sys.stderr)
                took = time.process_time() - at
                slowest = max(slowest, took)
                if took > asked.seconds:
                    ends["SLOW"] += 1
                    print(f"SLOW: {kind} {number}: {took:.1f} s", file=sys.stderr)
            faulthandler.cancel_dump_traceback_later()
            seconds = time.process_time() - began
            told = ", ".join(f"{count:,} {end}" for end, count in sorted(ends.items()))
            print(f"{kind}: {told}; {seconds:.0f} s, the slowest {slowest:.2f} s", flush=True)
            findings += ends["FOUND"] + ends["SLOW"]
        after = _listing(work / "model") | _listing(work / "adapter") | _listing(inside)
        if before != after:
            findings += 1
            print(f"TOUCHED: {sorted(before ^ after)}", file=sys.stderr)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"peak {peak:,} MiB; findings: {findings}")
    return int(findings > 0 or peak > asked.memory)


if __name__ == "__main__":
    sys.exit(main())
