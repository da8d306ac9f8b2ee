"""The nine sets, and the key of each candidate in each of them."""

from collections.abc import Callable

from app.schemas import CandidateAd, PredictRequest

# Both product sets have the same user keys: an answer by user key alone would mix them up.
KEYS: dict[str, Callable[[PredictRequest, CandidateAd], str]] = {
    "ad": lambda request, ad: ad.ad_id,
    "ad_group": lambda request, ad: ad.ad_group_id,
    "campaign": lambda request, ad: ad.campaign_id,
    "ad_channel": lambda request, ad: f"{ad.ad_id}_{request.channel_id}",
    "ad_group_channel": lambda request, ad: f"{ad.ad_group_id}_{request.channel_id}",
    "campaign_channel": lambda request, ad: f"{ad.campaign_id}_{request.channel_id}",
    "product": lambda request, ad: ad.product_id,
    "product_value": lambda request, ad: ad.product_id,
    "user": lambda request, ad: request.user_id,
}

SETS = tuple(KEYS)


def keys_by_set(request: PredictRequest, num_sets: int = len(SETS)) -> dict[str, list[str]]:
    """One key per candidate in each of the first `num_sets` sets.

    Ads that share a group, a campaign or the user ask for one record several times: so does the
    application that is measured here.
    """
    return {
        name: [key(request, ad) for ad in request.candidate_ads]
        for name, key in list(KEYS.items())[:num_sets]
    }
