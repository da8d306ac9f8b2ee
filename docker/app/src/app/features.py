"""From the records of a request to the two matrices that the model takes."""

from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from app.keys import SETS
from app.schemas import PredictRequest

# What a batch read gives for one set: the bins of each key in order, None where there is no record.
Records = Sequence[Mapping[str, Any] | None]

NUMBERS = ("imp", "clk", "conv", "cost", "ctr", "cvr")
DENSE = len(SETS) * len(NUMBERS) + 1

# Sparse fields and the size of their embedding tables.
TABLES = {
    "ad": 100_000,
    "ad_group": 50_000,
    "campaign": 20_000,
    "product": 100_000,
    "category": 1_000,
    "gender": 4,
}
_GENDERS = {"F": 1, "M": 2, "U": 3}


def bucket(text: str, size: int) -> int:
    # Not hash(): that differs from one process to the next.
    return crc32(text.encode()) % size


def extract(request: PredictRequest, records: Mapping[str, Records]) -> tuple[NDArray, NDArray]:
    """`sparse` [candidates, len(TABLES)] and `dense` [candidates, DENSE]; what was not read or not
    found counts as zero."""
    ads = request.candidate_ads
    missing = [None] * len(ads)
    by_set = {name: [bins or {} for bins in records.get(name, missing)] for name in SETS}

    sparse = np.array(
        [
            (
                bucket(ad.ad_id, TABLES["ad"]),
                bucket(ad.ad_group_id, TABLES["ad_group"]),
                bucket(ad.campaign_id, TABLES["campaign"]),
                bucket(ad.product_id, TABLES["product"]),
                bucket(str(product.get("category", "")), TABLES["category"]),
                _GENDERS.get(str(user.get("gender")), 0),
            )
            for ad, product, user in zip(ads, by_set["product"], by_set["user"], strict=True)
        ],
        dtype=np.int64,
    )
    dense = np.empty((len(ads), DENSE), dtype=np.float32)
    for place, name in enumerate(SETS):
        columns = slice(place * len(NUMBERS), (place + 1) * len(NUMBERS))
        dense[:, columns] = [[bins.get(number, 0) for number in NUMBERS] for bins in by_set[name]]
    # Counts spread over many powers of ten.
    np.log1p(dense[:, :-1], out=dense[:, :-1])
    dense[:, -1] = [user.get("age", 0) / 100 for user in by_set["user"]]
    return sparse, dense
