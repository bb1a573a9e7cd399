"""The page, and how it hears MQTT: a WebSocket that is passed on to the broker, to read only.

A broker seldom listens for WebSockets, and one in the process of `coeval demo` never does; this way
the page works with every broker that the aggregator works with (docs/decisions/0038-the-page.md).
"""

import asyncio
import logging
import os
import secrets
import ssl
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from fastapi import FastAPI
from fastapi.responses import RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from coeval.broker_address import PASSWORD_VARIABLE, BrokerAddress
from coeval_aggregator.api.mqtt_reading import (
    DISCONNECT,
    NotAllowed,
    PacketSplitter,
    check_packet,
    connect_packet,
    keepalive_of,
)

logger = logging.getLogger(__name__)

BUILT = Path(__file__).parent.parent / "page"
MOST_PAGES = 50
CHUNK_BYTES = 65_536
CONNECT_WITHIN_S = 5.0
POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
BROKER_AWAY, REFUSED = 1013, 1008
"""WebSocket's close codes: try again later, and policy violation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageConfig:
    """What the page listens to."""

    broker: BrokerAddress
    """The aggregator's broker."""
    prefix: str
    """What every topic begins with."""
    session: str
    """The session that is served, or `+`."""


def install(app: FastAPI, config: PageConfig) -> None:
    """Serve the page at `/`, and MQTT over a WebSocket at `/mqtt`."""
    pages: set[object] = set()

    @app.websocket("/mqtt")
    async def mqtt(socket: WebSocket) -> None:
        if not is_own_page(socket):
            await socket.close(REFUSED, "a page of another server may not read here")
            return
        if len(pages) >= MOST_PAGES:
            await socket.close(BROKER_AWAY, f"more than {MOST_PAGES} pages")
            return
        pages.add(socket)
        try:
            await pass_on(socket, config)
        finally:
            pages.discard(socket)

    @app.get("/page.json", include_in_schema=False)
    def settings() -> Response:
        told = {"prefix": config.prefix, "session": config.session}
        return Response(orjson.dumps(told), media_type="application/json")

    if not (BUILT / "index.html").is_file():
        logger.warning("no page: it is not built here; `make page` builds it")
        return

    @app.get("/", include_in_schema=False)
    def root() -> Response:
        return RedirectResponse("/page/")

    app.mount("/page", PageFiles(directory=BUILT, html=True), name="page")


class PageFiles(StaticFiles):
    """The built files, which load nothing from elsewhere."""

    async def get_response(self, path: str, scope: MutableMapping[str, Any]) -> Response:
        """A file, with what a browser may do with it."""
        response = await super().get_response(path, scope)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["Cache-Control"] = (
            "public, max-age=31536000, immutable" if path.startswith("assets/") else "no-cache"
        )
        return response


def is_own_page(socket: WebSocket) -> bool:
    """Whether a page of this server asks; a browser names the page's origin, programs none."""
    origin = socket.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == socket.headers.get("host")


async def pass_on(socket: WebSocket, config: PageConfig) -> None:
    """Pass bytes between a page and the broker until one of them ends."""
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(subprotocol="mqtt" if "mqtt" in offered else None)
    address = config.broker
    try:
        async with asyncio.timeout(CONNECT_WITHIN_S):
            reader, writer = await asyncio.open_connection(
                address.host,
                address.port,
                ssl=ssl.create_default_context() if address.tls else None,
            )
    except (OSError, TimeoutError):
        await socket.close(BROKER_AWAY, "the broker does not answer")
        return
    tasks = [
        asyncio.create_task(upwards(socket, writer, config)),
        asyncio.create_task(downwards(reader, socket)),
    ]
    code, reason = BROKER_AWAY, "the broker ended the connection"
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if isinstance(task.exception(), NotAllowed):
                code, reason = REFUSED, str(task.exception())[:100]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer.close()
    try:
        await socket.close(code, reason)
    except (RuntimeError, WebSocketDisconnect):  # the page left first
        return


async def upwards(socket: WebSocket, writer: asyncio.StreamWriter, config: PageConfig) -> None:
    """From the page to the broker: what a reader says, and nothing else.

    Raises:
        NotAllowed: the page said something else.
    """
    splitter, is_first = PacketSplitter(), True
    while True:
        try:
            data = await socket.receive_bytes()
        except (WebSocketDisconnect, KeyError):  # text has no bytes
            return
        for packet in splitter.push(data):
            if is_first:
                writer.write(
                    connect_packet(
                        client_id=f"coeval-page-{secrets.token_hex(6)}",
                        keepalive_s=keepalive_of(packet),
                        user=config.broker.user,
                        password=os.environ.get(PASSWORD_VARIABLE),
                    )
                )
                is_first = False
            else:
                check_packet(packet, prefix=config.prefix)
                writer.write(packet)
                if packet[0] >> 4 == DISCONNECT:
                    return
        await writer.drain()


async def downwards(reader: asyncio.StreamReader, socket: WebSocket) -> None:
    """From the broker to the page: all of it."""
    try:
        while data := await reader.read(CHUNK_BYTES):
            await socket.send_bytes(data)
    except (OSError, RuntimeError, WebSocketDisconnect):
        return
