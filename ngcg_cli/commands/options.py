"""Options that several commands share, declared once."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ngcg_cli.encoder.precision import PrecisionChoice
from ngcg_cli.output import terminal

DEFAULT_INDEX = "ngcg-index"

# A text and no path: of the two slashes of a URL a path makes one.
IndexOption = Annotated[
    str,
    typer.Option(
        "--index",
        metavar="DIR|milvus:...",
        envvar="NGCG_INDEX",
        help="The index: a folder, milvus:FILE[#COLLECTION], or "
        "milvus:http://HOST:PORT[/DATABASE][#COLLECTION].",
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME_OR_PATH",
        envvar="NGCG_MODEL",
        show_default="tiny",
        help="A name from `ngcg models`, a model id (with @REVISION or without), or a folder that "
        "`ngcg train` wrote.",
    ),
]
IndexModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME_OR_PATH",
        envvar="NGCG_MODEL",
        show_default="the index's own, tiny for a new one",
        help="A name from `ngcg models`, a model id (with @REVISION or without), or a folder that "
        "`ngcg train` wrote.",
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option("--device", metavar="auto|cpu|cuda|cuda:N|mps", help="Where the model runs."),
]
PrecisionOption = Annotated[
    PrecisionChoice,
    typer.Option(
        "--precision",
        help="What the model computes in; auto is bfloat16 on CUDA, else float32.",
    ),
]
IndexPrecisionOption = Annotated[
    PrecisionChoice,
    typer.Option(
        "--precision",
        help="What the model computes in; auto is the index's own, for a new one bfloat16 on CUDA, "
        "else float32.",
    ),
]
DimOption = Annotated[
    int | None,
    typer.Option(
        "--dim",
        metavar="N",
        min=1,
        help="Keep the first N components of each vector, where the model was trained for that "
        "(Matryoshka): a smaller index.",
        show_default="all, or the index's own",
    ),
]
DriverOption = Annotated[
    list[str] | None,
    typer.Option(
        "--driver",
        metavar="NAME",
        help="Allow another GDAL driver, such as netCDF; VRT allows VRTs that name more than "
        "plain files. Repeatable.",
        show_default=False,
    ),
]
AssetOption = Annotated[
    str | None,
    typer.Option(
        "--asset",
        metavar="NAME",
        help="Of STAC items, the asset to read; a pattern such as '*_rgb' works too.",
        show_default="by role (visual, data) and type",
    ),
]
StacFetchOption = Annotated[
    bool,
    typer.Option("--fetch", help="Read also from servers that only a STAC file names, not you."),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout when done.")
]


#: Names of options and arguments that are texts, as they may be more than a path.
_PATHS = ("model", "teacher", "sources", "index", "indexes", "out", "rerank", "explain")


def _be_verbose(value: bool) -> None:
    if value:
        terminal.configure(verbose=True)


def _be_quiet(value: bool) -> None:
    if value:
        terminal.configure(quiet=True)


VerboseOption = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", callback=_be_verbose, help="Say more on stderr; show tracebacks."
    ),
]
QuietOption = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", callback=_be_quiet, help="Say only warnings and errors on stderr."
    ),
]


def _at_home(name: str, value: Any) -> Any:
    """Paths with `~` expanded: a shell leaves it alone after `=`, and a variable never met one."""
    if isinstance(value, (list, tuple)):
        return type(value)(_at_home(name, item) for item in value)
    if isinstance(value, Path):
        return Path(os.path.expanduser(value))
    # Texts that may be paths; a question keeps its tilde.
    return os.path.expanduser(value) if name in _PATHS and isinstance(value, str) else value


def with_common_options(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a command `-v/--verbose` and `-q/--quiet`, so that they work after its name too."""
    common = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation
        )
        for name, annotation in (("verbose", VerboseOption), ("quiet", QuietOption))
    ]

    @functools.wraps(function)
    def command(*args: Any, **kwargs: Any) -> None:
        for option in common:  # their callbacks have done the work already
            kwargs.pop(option.name)
        function(*args, **{name: _at_home(name, value) for name, value in kwargs.items()})

    signature = inspect.signature(function, eval_str=True)
    parameters = [*signature.parameters.values(), *common]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return command
