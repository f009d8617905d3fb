"""A reader without a browser: speaks Bokeh's protocol, so that many of them cost a machine little."""

import asyncio
import json
import re
import time
import uuid
from collections.abc import Iterator
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

PATIENCE = 120
TOKEN = re.compile(r'"token":"([^"]+)"')


class Visitor:
    """One session; `await Visitor.come(…)` makes it."""

    def __init__(self, socket: WebSocketClientConnection) -> None:
        self._socket = socket
        self._models: list[tuple[str, str, dict[str, Any]]] = []
        self._pace = ""
        self._drawn = asyncio.Event()
        self.pictures = 0

    @classmethod
    async def come(cls, server: str, query: str) -> "Visitor":
        """Open the page, and answer as a browser does from then on."""
        page = await AsyncHTTPClient().fetch(f"{server}/app{query}", request_timeout=PATIENCE)
        (token,) = TOKEN.findall(page.body.decode())
        address = server.replace("http", "ws") + f"/app/ws{query}"
        visitor = cls(await websocket_connect(HTTPRequest(address), subprotocols=["bokeh", token]))
        await visitor._read()  # the greeting
        await visitor._send("PULL-DOC-REQ", {})
        visitor._models = list(_models(json.loads((await visitor._read())[1])))
        visitor._pace = next(id for name, id, _ in visitor._models if name.startswith("Pace"))
        await visitor._event("document_ready", {})
        visitor._listening = asyncio.create_task(visitor._listen())
        return visitor

    async def press(self, label: str) -> None:
        """Press a button."""
        await self._event(
            "dom_event", {"model": {"id": self._find(label)[0]}, "node": "click", "data": {"type": "map"}}
        )

    async def move(self, label: str, value: float) -> float:
        """Move a slider; return the seconds until the picture's new data is here."""
        self._drawn.clear()
        start = time.perf_counter()
        await self._change(self._find(label)[1], "value", value)
        await asyncio.wait_for(self._drawn.wait(), PATIENCE)
        return time.perf_counter() - start

    async def leave(self) -> None:
        """Close the page."""
        self._listening.cancel()
        self._socket.close()

    def _find(self, label: str) -> tuple[str, str]:
        """The component that carries a label, and its data."""
        for _, id, attributes in self._models:
            data = attributes.get("data")
            if isinstance(data, dict) and data.get("attributes", {}).get("label") == label:
                return id, data["id"]
        raise LookupError(f"no control is called {label!r}")

    async def _listen(self) -> None:
        while True:
            kind, content = await self._read()
            if kind != "PATCH-DOC":
                continue
            for event in json.loads(content)["events"]:
                if event.get("attr") == "sent":
                    await self._change(self._pace, "painted", event["new"])
                elif event.get("attr") == "data" or event["kind"] == "ColumnDataChanged":
                    self.pictures += 1
                    self._drawn.set()

    async def _read(self) -> tuple[str, str]:
        header = json.loads(await self._frame())
        await self._frame()
        content = await self._frame()
        for _ in range(2 * header.get("num_buffers", 0)):
            await self._frame()
        return header["msgtype"], content

    async def _frame(self) -> Any:
        frame = await self._socket.read_message()
        if frame is None:
            raise ConnectionError("the server closed the page")
        return frame

    async def _change(self, model: str, name: str, value: object) -> None:
        event = {"kind": "ModelChanged", "model": {"id": model}, "attr": name, "new": value}
        await self._send("PATCH-DOC", {"events": [event]})

    async def _event(self, name: str, values: dict[str, object]) -> None:
        event = {"type": "event", "name": name, "values": {"type": "map", "entries": list(values.items())}}
        sent = {"kind": "MessageSent", "msg_type": "bokeh_event", "msg_data": event}
        await self._send("PATCH-DOC", {"events": [sent]})

    async def _send(self, kind: str, content: dict[str, object]) -> None:
        header = {"msgid": uuid.uuid4().hex.upper(), "msgtype": kind}
        for part in (header, {}, content):
            await self._socket.write_message(json.dumps(part))


def _models(node: object) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every model in a document: its type, its id, its attributes."""
    if isinstance(node, list):
        for child in node:
            yield from _models(child)
    elif isinstance(node, dict):
        if node.get("type") == "object" and "id" in node:
            yield node["name"], node["id"], node.get("attributes", {})
        for child in node.values():
            yield from _models(child)
