"""The records of the nine sets and the sample request, as pure functions of a number.

`load-data` writes them and the tests expect them: nothing here may depend on the interpreter, the
client, the clock or chance.
"""

import struct
from hashlib import blake2b

from app.schemas import CandidateAd, PredictRequest

Bins = dict[str, int | float | str]

CHANNEL = "web"
SAMPLE_CANDIDATES = 200

_ENTITY = {
    "ad": "ad",
    "ad_group": "grp",
    "campaign": "cmp",
    "product": "prd",
    "product_value": "prd",
    "user": "usr",
}


def entity_id(kind: str, number: int) -> str:
    return f"{_ENTITY[kind]}-{number:09}"


def key(set_name: str, number: int) -> str:
    kind = set_name.removesuffix("_channel")
    return entity_id(kind, number) + (f"_{CHANNEL}" if kind != set_name else "")


def record(set_name: str, number: int) -> Bins:
    """The bins of record `number`. Whole numbers, floating-point numbers and text only: what both
    clients store in the same particle types."""
    digest = blake2b(f"{set_name}/{number}".encode(), digest_size=24).digest()
    a, b, c, d, e, f = struct.unpack("<6I", digest)
    impressions = 100 + a % 1_000_000
    clicks = b % (impressions // 10)
    conversions = c % (clicks // 5 + 1)
    bins: Bins = {
        "imp": impressions,
        "clk": clicks,
        "conv": conversions,
        "cost": d % 100_000_000 / 100,
        "ctr": clicks / impressions,
        "cvr": conversions / max(clicks, 1),
        "category": f"c{e % 1000:03}",
    }
    if set_name == "user":
        bins |= {"age": 18 + f % 60, "gender": "FMU"[e % 3]}
    return bins


def sample(candidates: int = SAMPLE_CANDIDATES) -> PredictRequest:
    """Four ads to a group, five groups to a campaign."""
    return PredictRequest(
        user_id=entity_id("user", 0),
        channel_id=CHANNEL,
        candidate_ads=[
            CandidateAd(
                ad_id=entity_id("ad", n),
                ad_group_id=entity_id("ad_group", n // 4),
                campaign_id=entity_id("campaign", n // 20),
                product_id=entity_id("product", n),
            )
            for n in range(candidates)
        ],
    )
