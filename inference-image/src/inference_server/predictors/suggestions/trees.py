"""LightGBM's text model as arrays.

LightGBM itself is needed in training only. Serving needs neither its library (it wants OpenMP and SciPy,
150 MB in an image) nor a parser in C++ for files of unknown origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference_server.artifacts import ArtifactError

TREES_FILE: Final = "trees.txt"
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Trees:
    """LightGBM's trees, all in one set of arrays; a leaf is a node that leads to itself.

    Attributes:
        roots: node of each tree; trees of one round follow each other, one for each class.
        feature, threshold, left, right, value: of each node.
        depth: of the deepest tree.
        classes: how many there are.
    """

    roots: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: Floats
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: Floats
    depth: int
    classes: int

    @classmethod
    def read(cls, path: Path, *, classes: int, features: int) -> Trees:
        """Read a verified text model of LightGBM with plain numerical splits.

        Raises:
            ArtifactError: it is none, or asks for features that are not there.
        """
        try:
            return cls.parse(path.read_text(encoding="utf-8"), classes=classes, features=features)
        except (ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
            raise ArtifactError(
                path,
                expected=f"trees of LightGBM for {classes} classes and {features} features",
                seen=f"{error}",
            ) from error

    @classmethod
    def parse(cls, text: str, *, classes: int, features: int) -> Trees:
        """Read a text model; see :meth:`read`. Raises ValueError, KeyError or IndexError."""
        roots: list[int] = []
        nodes: list[tuple[int, float, int, int, float]] = []
        deepest = 0
        for block in text.split("\nTree=")[1:]:
            fields = dict(
                line.split("=", 1) for line in block.split("\n\n", 1)[0].splitlines() if "=" in line
            )
            tree, root, depth = _tree(fields, len(nodes), features)
            roots.append(root)
            nodes += tree
            deepest = max(deepest, depth)
        if roots and not text.rstrip().endswith("end of trees"):
            raise ValueError("it has no end: the file was cut")
        if len(roots) % classes:
            raise ValueError(f"there are {len(roots)} trees for {classes} classes")
        feature, threshold, left, right, value = zip(*nodes, strict=True) if nodes else ((),) * 5
        return cls(
            roots=np.asarray(roots, np.int32),
            feature=np.asarray(feature, np.int32),
            threshold=np.asarray(threshold, np.float64),
            left=np.asarray(left, np.int32),
            right=np.asarray(right, np.int32),
            value=np.asarray(value, np.float64),
            depth=deepest,
            classes=classes,
        )

    def scores(self, rows: Floats) -> Floats:
        """Return what the trees add ``(rows, classes)`` to rows ``(rows, features)``."""
        if not len(self.roots):
            return np.zeros((len(rows), self.classes))
        node = np.tile(self.roots, (len(rows), 1))
        index = np.arange(len(rows))[:, None]
        for _ in range(self.depth):
            goes_left = rows[index, self.feature[node]] <= self.threshold[node]
            node = np.where(goes_left, self.left[node], self.right[node])
        rounds = len(self.roots) // self.classes
        return np.asarray(self.value[node].reshape(len(rows), rounds, self.classes).sum(axis=1))


def _tree(
    fields: Mapping[str, str], start: int, features: int
) -> tuple[list[tuple[int, float, int, int, float]], int, int]:
    """Nodes of one tree from place ``start`` on, its root's place and its depth."""
    values = [float(value) for value in fields["leaf_value"].split()]
    leaves = int(fields["num_leaves"])
    if int(fields["num_cat"]) or len(values) != leaves or not np.isfinite(values).all():
        raise ValueError("a tree has categories or leaves without values")
    inner = leaves - 1
    feature = [int(value) for value in fields["split_feature"].split()] if inner else []
    threshold = [float(value) for value in fields["threshold"].split()] if inner else []
    children = [
        [int(value) for value in fields[name].split()] if inner else []
        for name in ("left_child", "right_child")
    ]
    if {len(feature), len(threshold), *map(len, children)} != {inner}:
        raise ValueError("a tree has nodes without children")
    if inner and not 0 <= min(feature) <= max(feature) < features:
        raise ValueError(f"a tree asks for feature {max(feature)}")

    def place(child: int) -> int:
        if not -leaves <= child < inner:
            raise ValueError(f"a tree leads to node {child}")
        return start + (child if child >= 0 else inner - child - 1)

    nodes = [
        (feature[at], threshold[at], place(children[0][at]), place(children[1][at]), 0.0)
        for at in range(inner)
    ]
    nodes += [(0, float("inf"), start + inner + at, start + inner + at, values[at]) for at in range(leaves)]
    depths = [0] * inner
    for at in range(inner):  # a child always comes after its parent
        for child in (children[0][at], children[1][at]):
            if 0 <= child <= at:
                raise ValueError("a tree leads back")
            if child > 0:
                depths[child] = depths[at] + 1
    return nodes, start, max(depths, default=-1) + 1
