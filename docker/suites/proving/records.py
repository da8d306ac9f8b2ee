"""The records that all suites read: the same content whoever writes them, and no answer is taken unseen."""

from proving.client import Bins, Key

NAMESPACE = "test"
SET = "suites"
COUNT = 200


def key(number: int, set_name: str = SET) -> Key:
    return (NAMESPACE, set_name, f"key-{number}")


def bins(number: int) -> Bins:
    return {"number": number, "text": f"text {number}", "bytes": bytes([number % 256]) * 32, "list": [number, "é"]}


KEYS = [key(number) for number in range(COUNT)]


def check(found: list[Bins | None]) -> None:
    """That a batch read of KEYS gave what was written."""
    if len(found) != COUNT:
        raise AssertionError(f"{len(found)} records instead of {COUNT}")
    for number, got in enumerate(found):
        check_one(number, got)


def check_one(number: int, got: Bins | None) -> None:
    if got is None or dict(got) != bins(number):
        raise AssertionError(f"record {number} is {got!r}, not {bins(number)!r}")
