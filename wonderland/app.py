"""The served page: ``panel serve wonderland/app.py``."""

from urllib.parse import urlencode

import panel as pn
from panel.reactive import Syncable

from wonderland.document import Document

Syncable._debounce = 1  # ms; Panel's 50 would be most of the time between a control and its picture

pn.extension()

if pn.state.served:
    query = urlencode({name: values[0].decode() for name, values in pn.state.session_args.items()})
    phone = "Mobi" in pn.state.headers.get("User-Agent", "")
    Document("?" + query if query else "", narrow=phone).page.servable()
