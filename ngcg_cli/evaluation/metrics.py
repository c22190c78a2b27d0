"""From ranks and errors to the figures that are reported, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

EARTH_RADIUS_M = 6_371_000.0  # CVG-Text's sphere
RECALL_AT = (1, 5, 10)
WITHIN_M = (50, 100, 150)

CONFIDENCE = 0.95
RESAMPLES = 1000
SEED = 0
# Cluster weights drawn at once: 64 MiB.
_DRAWN_WEIGHTS = 8 * 1024 * 1024

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Degrees = npt.NDArray[np.float64] | float


def percent(share: Fraction) -> float:
    """A share in percent with two decimals, never rounded up: 2/3 is 66.66.

    Computed in whole numbers, so that 29 of 100 is 29.0 and not 28.99.
    """
    return math.floor(share * 10_000) / 100


def floor_percent(value: float) -> float:
    """A percentage that is not a ratio of counts (a bound of an interval), to two decimals.

    A ten-thousandth of the last decimal is granted to binary rounding: 28.999999999 is 29.0.
    """
    return math.floor(value * 100 + 1e-4) / 100


def distance_m(lon: Degrees, lat: Degrees, to_lon: Degrees, to_lat: Degrees) -> Floats:
    """Great-circle distance in metres between points in degrees (haversine, R = 6371 km)."""
    lat, to_lat = np.radians(lat), np.radians(to_lat)
    across = np.sin(np.radians(to_lon - lon) / 2) ** 2
    up = np.sin((to_lat - lat) / 2) ** 2
    square = up + np.cos(lat) * np.cos(to_lat) * across
    return np.asarray(2 * EARTH_RADIUS_M * np.arcsin(np.sqrt(np.minimum(square, 1.0))))


@dataclass(frozen=True)
class Shares:
    """Yes or no for each query, by figure.

    Attributes:
        hits: figure name to (Q,) bool.
        clusters: (Q,) numbers 0..n-1; queries of a cluster are not independent of each other.
    """

    hits: Mapping[str, npt.NDArray[np.bool_]]
    clusters: Ints

    @property
    def count(self) -> int:
        """Q, the number of queries."""
        return len(self.clusters)

    def exact(self) -> dict[str, Fraction]:
        """Each figure as the exact share of its queries."""
        return {name: Fraction(int(hit.sum()), len(hit)) for name, hit in self.hits.items()}

    def percents(self) -> dict[str, float]:
        """Each figure in percent, never rounded up."""
        return {name: percent(share) for name, share in self.exact().items()}


def recall_hits(rank: Ints) -> dict[str, npt.NDArray[np.bool_]]:
    """R@1, R@5 and R@10 of ranks (Q,) that count from 1."""
    return {f"R@{k}": rank <= k for k in RECALL_AT}


def within_hits(error_m: Floats) -> dict[str, npt.NDArray[np.bool_]]:
    """L@50, L@100 and L@150 of errors (Q,) in metres; an infinite one is a miss."""
    return {f"L@{metres}": error_m <= metres for metres in WITHIN_M}


def mean_percent(*directions: Shares) -> float:
    """The mean of all figures of the directions, from exact shares, never rounded up."""
    shares = [share for direction in directions for share in direction.exact().values()]
    return percent(sum(shares, Fraction(0)) / len(shares))


class Bootstrap:
    """95 % percentile intervals by resampling clusters with replacement, from a fixed seed.

    Args:
        clusters: number of clusters. They are drawn `RESAMPLES` times, all of them each time.
    """

    def __init__(self, clusters: int) -> None:
        self.clusters = clusters

    def shares(self, *directions: Shares) -> tuple[list[dict[str, list[float]]], list[float]]:
        """Intervals of every figure of each direction, and of the mean of all of them."""
        counts = [self._sum(d.clusters, np.ones(d.count)) for d in directions]
        sums = [[self._sum(d.clusters, hit) for hit in d.hits.values()] for d in directions]
        drawn: list[Floats] = []
        for weights in self._draw():
            figures = [
                100 * (weights @ hit) / (weights @ count)
                for count, hits in zip(counts, sums, strict=True)
                for hit in hits
            ]
            drawn.append(np.stack([*figures, np.mean(figures, axis=0)]))
        bounds = self._bounds(np.concatenate(drawn, axis=1))
        intervals = [[floor_percent(low), floor_percent(high)] for low, high in bounds]
        mean = intervals.pop()
        named = [{name: intervals.pop(0) for name in d.hits} for d in directions]
        return named, mean

    def mean(self, values: Floats, clusters: Ints) -> list[float]:
        """Interval of the mean of values (Q,)."""
        count, total = self._sum(clusters, np.ones(len(values))), self._sum(clusters, values)
        drawn = [(weights @ total) / (weights @ count) for weights in self._draw()]
        return self._bounds(np.concatenate(drawn)[None])[0].tolist()

    def median(self, values: Floats, clusters: Ints) -> list[float]:
        """Interval of the median of values (Q,)."""
        order = np.argsort(values, kind="stable")
        values, clusters = values[order], clusters[order]
        drawn = []
        for weights in self._draw():
            for row in weights:
                upto = np.cumsum(row[clusters])
                middle = np.searchsorted(upto, [(upto[-1] - 1) // 2, upto[-1] // 2], side="right")
                drawn.append(values[middle].mean())
        return self._bounds(np.array(drawn)[None])[0].tolist()

    def _draw(self) -> Iterator[Floats]:
        """Weights (r, clusters): how often each cluster was drawn; r sums to RESAMPLES."""
        generator = np.random.default_rng(SEED)
        left = RESAMPLES
        while left:
            rows = min(left, max(1, _DRAWN_WEIGHTS // self.clusters))
            drawn = generator.integers(self.clusters, size=(rows, self.clusters))
            drawn += np.arange(rows)[:, None] * self.clusters
            counts = np.bincount(drawn.ravel(), minlength=rows * self.clusters)
            yield counts.reshape(rows, self.clusters).astype(np.float64)
            left -= rows

    def _sum(self, clusters: Ints, values: npt.NDArray[np.float64 | np.bool_]) -> Floats:
        return np.bincount(clusters, weights=values, minlength=self.clusters).astype(np.float64)

    @staticmethod
    def _bounds(drawn: Floats) -> npt.NDArray[np.float64]:
        """(figures, 2) lower and upper bound of drawn figures (figures, RESAMPLES)."""
        tail = (1 - CONFIDENCE) / 2
        return np.quantile(drawn, [tail, 1 - tail], axis=1).T
