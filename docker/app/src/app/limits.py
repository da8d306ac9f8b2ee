"""Refuses request bodies that are too long, before they are held in memory."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_CLOSE = {"Connection": "close"}


class BodyLimit:
    """Answers 413 where a body is longer than `limit` bytes, whether or not its length was announced."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        received = 0

        async def limited() -> Message:
            nonlocal received
            # With an announced length nothing is read at all.
            if announced(scope) > self.limit:
                raise self.too_long()
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.limit:
                raise self.too_long()
            return message

        await self.app(scope, limited, send)

    def too_long(self) -> HTTPException:
        return HTTPException(413, f"the body is longer than {self.limit} bytes", _CLOSE)


def announced(scope: Scope) -> int:
    """The length that the header says; 0 where it says none."""
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(length) if length.isdigit() else 0
