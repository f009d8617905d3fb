"""The page as docs/serve.md serves it: under a path of its own, by several processes."""

import asyncio
import re
import sys
from collections.abc import Callable

from bokeh.protocol import Protocol
from bokeh.util.token import generate_jwt_token, generate_session_id
from tornado.websocket import websocket_connect

SERVE = [sys.executable, "-m", "panel", "serve", "wonderland/app.py", "--prefix", "class", "--warm"]


async def _pulled(address: str) -> str:
    """The document of a session that a websocket begins, as the server sends it."""
    token = generate_jwt_token(generate_session_id(signed=False), signed=False)
    socket = await websocket_connect(f"ws://{address}/ws", subprotocols=["bokeh", token])

    async def until(words: str) -> str:
        while True:
            part = await socket.read_message()
            assert part is not None, f"the server closed the websocket before {words}"
            if isinstance(part, str) and words in part:
                return part

    try:
        await until('"ACK"')  # the session is there, and can be asked
        ask = Protocol().create("PULL-DOC-REQ")
        for part in (ask.header_json, ask.metadata_json, ask.content_json):
            await socket.write_message(part)
        return await until('"doc":')
    finally:
        socket.close()
        while await socket.read_message() is not None:  # until it is closed indeed
            pass


def test_a_session_that_a_websocket_begins_asks_no_other_host(answer_of: Callable[..., str], free_port: int) -> None:
    """As when the websocket reaches another process than the page came from."""
    address = f"localhost:{free_port}/class/app"
    answer_of([*SERVE, "--port", str(free_port)], f"http://{address}")
    document = asyncio.run(asyncio.wait_for(_pulled(address), 60))
    sheets = re.findall(r'"name":"ImportedStyleSheet".*?"url":"(.*?)"', document)
    assert sheets
    assert [sheet for sheet in sheets if "//" in sheet] == []
