"""A key without the word Bearer, as a gateway in front of the engine lets it through: for --middleware of vLLM."""

from __future__ import annotations

from typing import Any


class BareKey:
    """ASGI. `Authorization: KEY` goes on as `Authorization: Bearer KEY`; whether the key is right, vLLM says."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [(name, self._mended(name, value)) for name, value in scope["headers"]]}
        await self._app(scope, receive, send)

    @staticmethod
    def _mended(name: bytes, value: bytes) -> bytes:
        return b"Bearer " + value if name.lower() == b"authorization" and value and b" " not in value else value
