"""`-o FILE`: the suffix says the format."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ngcg_cli.beside import beside, check_target
from ngcg_cli.errors import NgcgError, UsageError

if TYPE_CHECKING:
    from ngcg_cli.journeys.querying import Answer
    from ngcg_cli.output.formats import HitFormat

Writer: TypeAlias = "Callable[[Iterable[Answer], Path], None]"


def _write_text(hit_format: HitFormat, answers: Iterable[Answer], path: Path) -> None:
    from ngcg_cli.output.hits import FORMATS

    # As on stdout: a name that is not UTF-8 must not stop the output.
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        file.writelines(FORMATS[hit_format](answers))


def _write_kml(answers: Iterable[Answer], path: Path) -> None:
    from ngcg_cli.output.kml import write_kml

    write_kml(answers, path)


def _write_gpx(answers: Iterable[Answer], path: Path) -> None:
    from ngcg_cli.output.gpx import write_gpx

    write_gpx(answers, path)


def _write_parquet(answers: Iterable[Answer], path: Path) -> None:
    from ngcg_cli.output.gis import write_parquet

    write_parquet(answers, path)


def _write_layer(answers: Iterable[Answer], path: Path) -> None:
    from ngcg_cli.output.gis import write_layer

    write_layer(answers, path)


def _write_page(answers: Iterable[Answer], path: Path, fetch: bool = False) -> None:
    from ngcg_cli.output.page import write_page

    write_page(answers, path, fetch)


WRITERS: dict[str, Writer] = {
    ".jsonl": partial(_write_text, "jsonl"),
    ".csv": partial(_write_text, "csv"),
    ".geojson": partial(_write_text, "geojson"),
    ".html": _write_page,
    ".kml": _write_kml,
    ".gpx": _write_gpx,
    ".gpkg": _write_layer,
    ".fgb": _write_layer,
    ".parquet": _write_parquet,
}
# What of the suffixes is an extra: the module it needs, and the extra's name.
_EXTRAS = {
    ".html": ("js_lib_leaflet", "page"),
    ".gpkg": ("pyogrio", "gis"),
    ".fgb": ("pyogrio", "gis"),
}


def check_output(path: Path, hit_format: HitFormat | None = None) -> None:
    """See, before a model is loaded, that the hits can be written to `path`.

    Raises:
        UsageError: an unknown suffix, one that is at odds with --format, or no place for a file.
        NgcgError: the format needs a package that is missing; the pip command is named.
    """
    suffix = path.suffix.lower()
    if suffix not in WRITERS:
        raise UsageError(
            f"-o {path}: the suffix {suffix!r} says no format"
            if suffix
            else f"-o {path}: it has no suffix to say the format",
            hint=f"Use one of {' '.join(WRITERS)}.",
        )
    if hit_format is not None and suffix != f".{hit_format}":
        raise UsageError(
            f"-o {path} and --format {hit_format} do not agree",
            hint="Leave --format away: the suffix decides.",
        )
    check_target(path)
    module, extra = _EXTRAS.get(suffix, (None, None))
    if module is not None and find_spec(module) is None:
        raise NgcgError(
            f"writing {suffix} needs the package {module}", hint=f"pip install 'ngcg[{extra}]'"
        )


def write_output(answers: Iterable[Answer], path: Path, fetch: bool = False) -> None:
    """Writes all questions into one file, beside and then renamed; for `fetch` see `Pictures`."""
    writer = WRITERS[path.suffix.lower()]
    if writer is _write_page:
        writer = partial(_write_page, fetch=fetch)
    with beside(path) as partial_path:
        writer(answers, partial_path)
