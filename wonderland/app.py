"""The served page: ``panel serve wonderland/app.py``."""

from urllib.parse import urlencode

import panel as pn
from panel.io.resources import LOCAL_DIST, patch_model_css
from panel.reactive import Syncable

from wonderland.document import Document

Syncable._debounce = 1  # ms; Panel's 50 would be most of the time between a control and its picture

pn.extension()

if pn.state.served:
    query = urlencode({name: values[0].decode(errors="replace") for name, values in pn.state.session_args.items()})
    phone = "Mobi" in pn.state.headers.get("User-Agent", "")
    light = pn.state.cookies.get("wonderland-theme") == "light"  # as the reader left it; see address.py
    Document("?" + query if query else "", dark=not light, narrow=phone).page.servable()
    # With several processes the websocket may reach another one than the page came from. Its session is no less this
    # server's own: without this its styles would be asked of another host (panel 1.9.4).
    doc = pn.state.curdoc
    doc.template_variables["dist_url"] = LOCAL_DIST
    for root in doc.roots:
        patch_model_css(root, dist_url=LOCAL_DIST)

    def send_at_once() -> None:
        """Let no part of a message wait until the one before it has been acknowledged: that can take 40 ms."""
        session = doc.session_context.session  # none while a server only warms up
        for connection in session._subscribed_connections if session else ():
            connection._socket.set_nodelay(True)

    pn.state.onload(send_at_once)
