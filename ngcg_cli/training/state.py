"""A run's state on disk: trainable weights, AdamW's moments and the step, in one safetensors file.

One file, because one rename is atomic and two are not: the JSON part travels in the header.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ngcg_cli.beside import beside, sweep
from ngcg_cli.errors import ModelError, NgcgError, UsageError

RUN_FILE = "run.json"  # the sign that a folder is a run's: the first that is written
STATE_FILE = "resume.safetensors"
METRICS_FILE = "metrics.jsonl"
BEST, LAST = "best", "last"  # the folders of checkpoints
_FORMAT = 1
_STAMP = "ngcg.json"  # in every checkpoint


def check_out(out: Path, *, resume: bool = False) -> None:
    """See that a run may write to `out`: there is nothing yet, or a run to go on with.

    Raises:
        UsageError: `out` is a file, holds what is no run, or holds a run and `resume` is off.
    """
    if out.exists() and not out.is_dir():
        raise UsageError("is a file", where=out, hint="Name a folder with --out.")
    names = sorted(path.name for path in out.iterdir()) if out.exists() else []
    if not names:
        return
    # Runs of earlier versions have no RUN_FILE.
    ours = (out / RUN_FILE).is_file() or (out / STATE_FILE).is_file()
    foreign = [
        name
        for name in ((BEST, LAST) if ours else names[:3])
        if not ours or ((out / name).exists() and not (out / name / _STAMP).is_file())
    ]
    if foreign:
        raise UsageError(
            f"holds {', '.join(foreign)}, which no training run has written",
            where=out,
            hint="Name a new or an empty folder with --out.",
        )
    if (out / STATE_FILE).exists() and not resume:
        raise UsageError(
            "this folder holds a run already",
            where=out,
            hint="Go on with --resume, or choose another --out.",
        )


def claim(out: Path) -> None:
    """Make `out` a run's folder; `check_out` has been asked before.

    Raises:
        NgcgError: nothing can be written there.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        sweep(out)
        if not (out / RUN_FILE).exists():
            (out / RUN_FILE).write_text(json.dumps({"format": _FORMAT}) + "\n")
    except OSError as error:
        raise NgcgError(
            f"no run can be written here ({error.strerror})",
            where=out,
            hint="Name another folder with --out.",
        ) from error


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Name -> parameter of everything that learns; a tied parameter appears once."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def save_state(
    out: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: dict[str, Tensor] | None,
    info: dict[str, Any],
) -> None:
    """Write the run's state beside the old one, then put it in its place in one rename."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in trainable(module).items():
        tensors[f"weight/{name}"] = parameter.detach()
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"adamw/{key}/{name}"] = value
    for name, buffer in _buffers(module):
        tensors[f"buffer/{name}"] = buffer
    for name, value in (average or {}).items():
        tensors[f"average/{name}"] = value
    # A clone each: safetensors refuses tensors that share memory, which views of one buffer do.
    tensors = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}
    with beside(out / STATE_FILE, alone=True) as partial:
        save_file(tensors, partial, metadata={"ngcg": json.dumps({"format": _FORMAT, **info})})


def load_state(
    out: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: dict[str, Tensor] | None,
    expected: dict[str, Any],
) -> dict[str, Any]:
    """Put the saved state into `module`, `optimizer` and `average`; return the saved info.

    Raises:
        UsageError: the run was started with other settings than `expected`.
        ModelError: the file is damaged, or of another model.
    """
    path = out / STATE_FILE
    try:
        with safe_open(path, framework="pt") as file:
            info = json.loads((file.metadata() or {})["ngcg"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise ModelError(
            f"cannot read the saved state ({error})",
            where=path,
            hint="Delete it to start the run anew.",
        ) from error
    _check_same_run(path, info["run"], expected)
    parameters = trainable(module)
    saved = {key.removeprefix("weight/") for key in tensors if key.startswith("weight/")}
    if saved != set(parameters):
        odd = sorted(saved ^ set(parameters))
        raise ModelError(
            f"the saved state is of another model: {len(odd)} parameters differ, such as {odd[0]}",
            where=path,
            hint="Resume with the model and tuning of the first run, or choose another --out.",
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            value = tensors[f"weight/{name}"]
            if value.shape != parameter.shape:
                raise ModelError(
                    f"{name} is {tuple(value.shape)} in the saved state, "
                    f"{tuple(parameter.shape)} in the model",
                    where=path,
                )
            parameter.copy_(value)
            _load_moments(optimizer, parameter, name, tensors)
        for name, buffer in _buffers(module):
            buffer.copy_(tensors[f"buffer/{name}"])
        for name, value in (average or {}).items():
            value.copy_(tensors[f"average/{name}"])
    return info


def _load_moments(
    optimizer: torch.optim.Optimizer,
    parameter: nn.Parameter,
    name: str,
    tensors: dict[str, Tensor],
) -> None:
    for key in ("step", "exp_avg", "exp_avg_sq"):
        value = tensors.get(f"adamw/{key}/{name}")
        if value is not None:
            # AdamW keeps its step counter on the CPU and its moments where the weights are.
            device = "cpu" if key == "step" else parameter.device
            optimizer.state[parameter][key] = value.to(device)


def _check_same_run(path: Path, saved: dict[str, Any], expected: dict[str, Any]) -> None:
    now = json.loads(json.dumps(expected))  # tuples become lists, as they did when saved
    differ = [k for k in sorted({*saved, *now}) if saved.get(k) != now.get(k)]
    if differ:
        key = differ[0]
        others = f" (and {', '.join(differ[1:])})" if differ[1:] else ""
        raise UsageError(
            f"the run to resume had {key} = {saved.get(key)}, this one has {now.get(key)}{others}",
            where=path,
            hint="Resume with the same options, or choose another --out.",
        )


def _buffers(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Persistent buffers only (batch statistics); rotary tables and masks are rebuilt."""
    for prefix, part in module.named_modules():
        for name, buffer in part.named_buffers(prefix, recurse=False):
            if name.rpartition(".")[2] not in part._non_persistent_buffers_set:
                yield name, buffer


def keep_rows_until(path: Path, step: int) -> None:
    """Drop the lines of `metrics.jsonl` past `step`: the resumed run writes them again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        with suppress(ValueError):  # a line cut short by a kill
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
    with beside(path, alone=True) as partial:
        partial.write_text("".join(kept))
