"""Starts the server: `python -m app`."""

import sys

from app import logs
from app.settings import Settings, SettingsError


def main() -> None:
    try:
        settings = Settings.read()
    except SettingsError as error:
        sys.exit(f"error: {error}")
    logs.configure(settings.log_level)
    settings.limit_blas()

    # Only now, since these import NumPy.
    import uvicorn  # noqa: PLC0415

    from app.api import create_app  # noqa: PLC0415

    # One process: what is measured is what its threads can do. Uvicorn answers SIGTERM by finishing
    # the requests under way.
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        loop=settings.loop,
        http=settings.http,
        ws="none",
        lifespan="on",
        backlog=settings.backlog,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=settings.shutdown_s,
        access_log=settings.access_log,
        log_config=None,
        server_header=False,
    )


if __name__ == "__main__":
    main()
