"""Clients: submit jobs, wait for results, look after them, from Python.

    with Client("http://localhost:8000", token="…") as client:
        result = client.run("catalogue", {"page": 3}, timeout=60)

`Client` and `AsyncClient` have the same methods. Both speak either to a gateway (an `http(s)://` URL) or straight to a
broker (`sqlite:///…`, `memory://…`); behind the same few verbs of a `Transport`. A wait survives the restart of what it
speaks to: it asks again, by the job's id. A submit carries a key, so that asking again never makes a second job.
"""

from pumasi.client.asynchronous import AsyncClient
from pumasi.client.synchronous import Client

__all__ = ["AsyncClient", "Client"]
