"""The model against its definition, and against PyTorch where that is installed."""

from importlib.util import find_spec
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from app import dlrm, settings
from app.features import DENSE, TABLES, extract
from app.keys import KEYS, SETS
from app.records import key, record, sample


@pytest.fixture(scope="module")
def inputs() -> tuple[NDArray, NDArray]:
    request = sample()
    records = {
        name: [record(name, numbers[of_ad(request, ad)]) for ad in request.candidate_ads]
        for name, of_ad in KEYS.items()
        for numbers in [{key(name, number): number for number in range(200)}]
    }
    return extract(request, records)


def by_hand(model: dlrm.Weights, sparse: NDArray, dense: NDArray) -> list[float]:
    """As the paper says it, ad by ad and in double precision."""

    def mlp(layers: list[dlrm.Layer], x: NDArray, last: bool) -> NDArray:
        for number, (matrix, bias) in enumerate(layers):
            x = x @ matrix.astype(float) + bias
            x = np.maximum(x, 0) if last or number + 1 < len(layers) else x
        return x

    scores = []
    for fields, numbers in zip(sparse, dense, strict=True):
        bottom = mlp(model.bottom, numbers.astype(float), True)
        vectors = [bottom, *(table[row] for table, row in zip(model.embeddings, fields, strict=True))]
        dots = [
            float(b @ a) for b, a in ((vectors[j], vectors[i]) for j in range(len(vectors)) for i in range(j))
        ]
        assert len(dots) == len(list(combinations(vectors, 2)))
        logit = mlp(model.top, np.concatenate([bottom, dots]), False)[0]
        scores.append(1 / (1 + np.exp(-logit)))
    return scores


def test_shapes(inputs: tuple[NDArray, NDArray]) -> None:
    sparse, dense = inputs
    assert sparse.shape == (200, len(TABLES))
    assert dense.shape == (200, DENSE)
    assert np.isfinite(dense).all()
    assert (dense != 0).mean() > 0.8
    assert (sparse < list(TABLES.values())).all()


def test_numpy_engine_computes_the_paper(inputs: tuple[NDArray, NDArray]) -> None:
    model = dlrm.weights(42)
    scores = dlrm.numpy_engine(model)(*inputs)
    assert scores == pytest.approx(by_hand(model, *inputs), abs=1e-5)
    assert scores.std() > 0.01


def test_seed_decides(inputs: tuple[NDArray, NDArray]) -> None:
    first, again, other = (dlrm.engine("numpy", seed)(*inputs) for seed in (42, 42, 43))
    assert (first == again).all()
    assert not np.allclose(first, other)


@pytest.mark.filterwarnings("default")  # Its import is its own affair.
def test_torch_gives_the_same_scores(inputs: tuple[NDArray, NDArray]) -> None:
    pytest.importorskip("torch")
    assert dlrm.engine("torch", 42)(*inputs) == pytest.approx(dlrm.engine("numpy", 42)(*inputs), abs=1e-5)


def test_extreme_logits_do_not_overflow() -> None:
    sparse, dense = np.zeros((2, len(TABLES)), np.int64), np.full((2, DENSE), 1e6, np.float32)
    with np.errstate(all="raise", under="ignore"):
        scores = dlrm.engine("numpy", 42)(sparse, dense)
    assert ((scores >= 0) & (scores <= 1)).all()


def test_each_set_reaches_the_model() -> None:
    request = sample(1)
    _, nothing = extract(request, {})
    for name in SETS:
        _, dense = extract(request, {name: [record(name, 0)]})
        assert (dense != nothing).sum() >= 5, name


def test_the_engine_is_what_is_installed() -> None:
    assert settings.engine("auto") == ("torch" if find_spec("torch") else "numpy")
    assert settings.engine("numpy") == "numpy"
    with pytest.raises(ValueError, match="not one of"):
        settings.engine("tensorflow")
