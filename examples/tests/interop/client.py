"""Talks to the gateway with the `websockets` package; prints a line for each thing that worked.

Usage: client.py ADDRESS TOKEN
"""

import asyncio
import sys
from contextlib import asynccontextmanager
from urllib.parse import urlencode

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

ADDRESS, TOKEN = sys.argv[1:]
NAME = "Björn & Söhne"
LARGEST = 1 << 20


@asynccontextmanager
async def login(uid, **more):
    query = urlencode({"uid": uid, "token": TOKEN, **more})
    async with connect(f"ws://{ADDRESS}/ws?{query}", max_size=None) as ws:
        # The first answer is what says that the login has taken effect.
        is_equal("the login", await ask(ws, "E"), "E")
        yield ws


async def ask(ws, question):
    await ws.send(question)
    return await ws.recv()


async def until_close(ws):
    """The messages up to the close, and its code."""
    messages = []
    try:
        while True:
            messages.append(await ws.recv())
    except ConnectionClosed as closed:
        return messages, closed.rcvd.code


def is_equal(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: {got!r:.200} and not {wanted!r:.200}")


def worked(step):
    print(step, flush=True)


async def messages():
    async with login(NAME) as ws:
        # The library offers compression, which has to be declined and not ignored.
        is_equal("extensions", ws.protocol.extensions, [])
        is_equal("who is online", await ask(ws, f"O{NAME}"), f"+online {NAME} 1")
        is_equal("text", await ask(ws, "E grüße \U0001f375"), "E grüße \U0001f375")
        worked("text")
        is_equal("binary", await ask(ws, b"E\x00\xff"), b"E\x00\xff")
        worked("binary")
        largest = b"E" * LARGEST
        is_equal("the largest", await ask(ws, largest), largest)
        worked("largest")
        is_equal("fragments", await ask(ws, ["E one", " two", "", " three"]), "E one two three")
        worked("fragments")
        await (await ws.ping(b"are you there?"))
        worked("ping")
        for number in range(1000):
            await ws.send(f"E{number}")
        is_equal("order", [await ws.recv() for _ in range(1000)], [f"E{number}" for number in range(1000)])
        worked("pipelined")
    is_equal("the answer to our close", ws.close_code, 1000)
    worked("close")


async def closes():
    async with login("bob") as ws, login("alice") as other:
        is_equal("the kick", await ask(other, "Kbob"), "+kicked bob 1")
        is_equal("who was kicked", await until_close(ws), (["!bye kicked"], 4001))
    worked("kicked")
    async with login("bob", device="old") as old, login("bob", device="new") as new:
        is_equal("the new session", await ask(new, "E new"), "E new")
        is_equal("the old session", await until_close(old), (["!bye sso"], 4000))
    worked("sso")
    async with login("bob") as ws:
        await ws.send(b"E" * (LARGEST + 1))
        is_equal("too big", await until_close(ws), ([], 1009))
    worked("too big")
    async with login("bob") as ws:
        await ws.send(b"E\xff", text=True)
        is_equal("bad text", await until_close(ws), ([], 1007))
    worked("bad text")


async def refusals():
    for query, status in [({"token": TOKEN}, 400), ({"uid": "bob", "token": "guess"}, 401)]:
        try:
            async with connect(f"ws://{ADDRESS}/ws?{urlencode(query)}"):
                sys.exit(f"{query} was let in")
        except InvalidStatus as refusal:
            is_equal("the status", refusal.response.status_code, status)
    worked("refused")


async def drain():
    async with login("bob") as ws:
        worked("waiting")
        is_equal("the drain", await until_close(ws), (["!bye drain"], 1001))
    worked("drained")


async def main():
    await messages()
    await closes()
    await refusals()
    await drain()


asyncio.run(main())
