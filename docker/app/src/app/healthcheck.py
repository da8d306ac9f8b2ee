"""For Docker's HEALTHCHECK, without curl: `python -m app.healthcheck [/ready]`."""

import sys
from http.client import HTTPConnection, HTTPException

from app.settings import Settings


def main() -> None:
    path = sys.argv[1] if len(sys.argv) > 1 else "/health"
    settings = Settings.read()
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    try:
        connection = HTTPConnection(host, settings.port, timeout=5)
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace")
    except (OSError, HTTPException) as error:
        sys.exit(f"error: no answer from {host}:{settings.port}{path}: {error}")
    if answer.status != 200:
        sys.exit(f"error: {host}:{settings.port}{path} answered {answer.status}: {body}")
    print(body)


if __name__ == "__main__":
    main()
