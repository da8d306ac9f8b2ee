"""The model of dlrm.py, computed by PyTorch on the CPU from the same weights."""

import torch
from numpy.typing import NDArray
from torch.nn import functional

from app.dlrm import PAIRS, Engine, Layer, Weights


def torch_engine(model: Weights) -> Engine:
    embeddings = [torch.from_numpy(table) for table in model.embeddings]
    rows, columns = (torch.from_numpy(side) for side in PAIRS)

    def tensors(layers: list[Layer]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [(torch.from_numpy(matrix.T.copy()), torch.from_numpy(bias)) for matrix, bias in layers]

    bottom_layers, top_layers = tensors(model.bottom), tensors(model.top)

    @torch.inference_mode()
    def score(sparse: NDArray, dense: NDArray) -> NDArray:
        bottom, fields = torch.from_numpy(dense), torch.from_numpy(sparse)
        for matrix, bias in bottom_layers:
            bottom = functional.relu(functional.linear(bottom, matrix, bias))
        looked_up = [functional.embedding(fields[:, n], table) for n, table in enumerate(embeddings)]
        vectors = torch.stack([bottom, *looked_up], dim=1)
        products = torch.bmm(vectors, vectors.transpose(1, 2))
        x = torch.cat([bottom, products[:, rows, columns]], dim=1)
        for matrix, bias in top_layers[:-1]:
            x = functional.relu(functional.linear(x, matrix, bias))
        return torch.sigmoid(functional.linear(x, *top_layers[-1]))[:, 0].numpy()

    return score
