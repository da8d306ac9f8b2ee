"""The records and keys are the same today, tomorrow, and on every interpreter."""

import hashlib
import json

from app.keys import KEYS, SETS, keys_by_set
from app.load import batches, writes
from app.records import key, record, sample

# Of all records of load-data --records 200. Another value means: all data must be loaded again.
DIGEST = "79af1fdaaa8a0396dfbf7a8fe1fa1524c1cd3013b690cc767d29786dad0c1e8f"


def test_records_never_change() -> None:
    text = json.dumps(list(writes("test", 200)), sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest() == DIGEST


def test_sample_asks_for_what_is_written() -> None:
    written = {name: {key(name, number) for number in range(200)} for name in SETS}
    asked = keys_by_set(sample())
    assert list(asked) == list(SETS)
    for name in SETS:
        assert len(asked[name]) == 200
        assert set(asked[name]) <= written[name]
    assert len({ad.ad_id for ad in sample().candidate_ads}) == 200


def test_keys_of_one_candidate() -> None:
    assert {name: keys[0] for name, keys in keys_by_set(sample(1)).items()} == {
        "ad": "ad-000000000",
        "ad_group": "grp-000000000",
        "campaign": "cmp-000000000",
        "ad_channel": "ad-000000000_web",
        "ad_group_channel": "grp-000000000_web",
        "campaign_channel": "cmp-000000000_web",
        "product": "prd-000000000",
        "product_value": "prd-000000000",
        "user": "usr-000000000",
    }
    assert len(KEYS) == 9


def test_bins_are_what_both_clients_store_alike() -> None:
    for name in SETS:
        for number in range(50):
            bins = record(name, number)
            # Not bool, which is a kind of int but another particle.
            assert {type(value) for value in bins.values()} <= {int, float, str}
            assert all(len(bin_name) <= 15 for bin_name in bins)


def test_batches() -> None:
    assert [len(batch) for batch in batches(writes("test", 200), 500)] == [500, 500, 500, 300]
