"""The lines that the runner writes, which xtask/crates/suites reads."""

from collections.abc import Iterator


def line(suite: str, client: dict, case: str, number: int, result: dict) -> dict:
    """How a process ended."""
    result = {name: value for name, value in result.items() if name not in ("report", "events", "guard")}
    return {"event": "process", "suite": suite, "client": client["id"], "case": case, "number": number, **result}


def test(suite: str, client: dict, case: str, name: str, result: dict) -> dict:
    """What came of one of many things in a process."""
    place = {"event": "test", "suite": suite, "client": client["id"], "case": case, "name": name}
    return place | {"seconds": 0.0, "message": "", "text": ""} | result


def set_aside(suite: str, client: dict, case: str, aside: dict[str, dict]) -> Iterator[dict]:
    """What was not tried in threads, each with its reason."""
    for name, result in sorted(aside.items()):
        yield test(suite, client, case, name, result)


def reason(stderr: str) -> str:
    """Why pytest ended, from what it wrote, after a colon."""
    said = [text for text in stderr.splitlines() if text.startswith(("Exit:", "!", "ERROR", "E ", "INTERNALERROR> "))]
    return f": {said[-1].removeprefix('INTERNALERROR> ').strip('! ')}" if said else ""
