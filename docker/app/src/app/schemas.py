"""What a request may contain and what an answer says."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Mode = Literal["single", "gather", "merge_gather"]
ClientType = Literal["official", "py-async"]

# The top also bounds what one request can make the server read: nine keys for each.
MAX_CANDIDATES = 1000

Id = Annotated[str, Field(min_length=1, max_length=64)]


class Schema(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="forbid", frozen=True
    )


class CandidateAd(Schema):
    ad_id: Id
    ad_group_id: Id
    campaign_id: Id
    product_id: Id


class PredictRequest(Schema):
    user_id: Id
    channel_id: Id
    candidate_ads: Annotated[list[CandidateAd], Field(min_length=1, max_length=MAX_CANDIDATES)]


class Prediction(Schema):
    ad_id: str
    score: float


class PredictResponse(Schema):
    client_type: ClientType
    mode: Mode
    predictions: list[Prediction]
    aerospike_ms: float
    inference_ms: float
    total_ms: float
    records_found: int
    records_total: int


class Problem(Schema):
    """The body of a 503."""

    detail: str
