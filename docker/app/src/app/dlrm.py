"""DLRM (Naumov et al., 2019, arXiv:1906.00091): bottom MLP, embeddings, pairwise dot products, top
MLP. The weights and the NumPy engine; dlrm_torch.py computes the same with PyTorch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from app.features import DENSE, TABLES

# [candidates, fields], [candidates, numbers] -> [candidates] scores from 0 to 1. Must be safe to be
# called from several threads at once.
Engine = Callable[[NDArray, NDArray], NDArray]
Layer = tuple[NDArray, NDArray]

WIDTH = 16
BOTTOM = (DENSE, 128, 64, WIDTH)
_VECTORS = len(TABLES) + 1
# Each pair of vectors once, without a vector and itself.
PAIRS = np.tril_indices(_VECTORS, k=-1)
TOP = (len(PAIRS[0]) + WIDTH, 256, 128, 1)


@dataclass(frozen=True)
class Weights:
    embeddings: list[NDArray]
    bottom: list[Layer]
    top: list[Layer]


def weights(seed: int) -> Weights:
    """Drawn as the paper's reference does, always in this order."""
    random = np.random.Generator(np.random.PCG64(seed))

    def layers(sizes: tuple[int, ...]) -> list[Layer]:
        return [
            (
                random.normal(0, (2 / (into + out)) ** 0.5, (into, out)).astype(np.float32),
                random.normal(0, (1 / out) ** 0.5, out).astype(np.float32),
            )
            for into, out in pairwise(sizes)
        ]

    def table(rows: int) -> NDArray:
        bound = (1 / rows) ** 0.5
        return random.uniform(-bound, bound, (rows, WIDTH)).astype(np.float32)

    return Weights([table(rows) for rows in TABLES.values()], layers(BOTTOM), layers(TOP))


def numpy_engine(model: Weights) -> Engine:
    def mlp(layers: list[Layer], x: NDArray, *, activate_last: bool) -> NDArray:
        for number, (matrix, bias) in enumerate(layers, start=1):
            x = x @ matrix
            x += bias
            if activate_last or number < len(layers):
                np.maximum(x, 0, out=x)
        return x

    def score(sparse: NDArray, dense: NDArray) -> NDArray:
        bottom = mlp(model.bottom, dense, activate_last=True)
        looked_up = [table[sparse[:, field]] for field, table in enumerate(model.embeddings)]
        vectors = np.stack([bottom, *looked_up], axis=1)
        products = vectors @ vectors.transpose(0, 2, 1)
        joined = np.concatenate([bottom, products[:, PAIRS[0], PAIRS[1]]], axis=1)
        logits = mlp(model.top, joined, activate_last=False)[:, 0]
        # The same as 1 / (1 + exp(-x)), but cannot overflow.
        return 0.5 * (1 + np.tanh(0.5 * logits))

    return score


def engine(name: str, seed: int) -> Engine:
    model = weights(seed)
    if name == "numpy":
        return numpy_engine(model)
    from app.dlrm_torch import torch_engine  # noqa: PLC0415 - installed only where it is chosen

    return torch_engine(model)
