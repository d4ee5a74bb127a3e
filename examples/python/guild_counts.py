"""Counts guilds: each shard answers with its own, and shard 0's process asks all of them.

pip install websockets; APOLO_BOT_TOKEN=simulated python guild_counts.py, beside `apolo dev`.
"""
import asyncio, collections, json, os
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

URL = os.environ.get("APOLO_BOT_URL", "ws://127.0.0.1:3001/bot/v1")
HEADERS = {"Authorization": "Bearer " + os.environ["APOLO_BOT_TOKEN"]}
guilds = collections.defaultdict(set)


async def ask(socket):
    while True:
        await asyncio.sleep(1)
        await socket.send(json.dumps({"type": "request", "id": "counts", "event": "get-guild-count", "receiver": "all"}))


async def serve(socket):
    await socket.send(json.dumps({"type": "register", "events": ["get-guild-count"], "idempotent": True}))
    await socket.send(json.dumps({"type": "subscribe", "events": ["GUILD_CREATE", "GUILD_DELETE"]}))
    async for frame in socket:
        match json.loads(frame):
            case {"type": "event", "name": name, "shard": shard, "data": data, "delivery": delivery}:
                change = guilds[shard].add if name == "GUILD_CREATE" else guilds[shard].discard
                change(data["id"])
                await socket.send(json.dumps({"type": "ack", "delivery": delivery}))
            case {"type": "request", "id": call, "receiver": {"shard": shard} as receiver}:
                answer = {"type": "response", "id": call, "receiver": receiver, "data": len(guilds[shard])}
                await socket.send(json.dumps(answer))
            case {"type": "response", "id": "counts", "data": {"answers": answers}}:
                print(sum(answers.values()), "guilds on", len(answers), "shards", flush=True)
            case {"type": "error", "error": error}:
                print(error["message"], flush=True)


async def main():
    async for socket in connect(URL, additional_headers=HEADERS):  # connects again by itself
        asking = asyncio.create_task(ask(socket))
        try:
            await serve(socket)
        except ConnectionClosed as closed:
            print("the node has gone:", closed, flush=True)
        finally:
            asking.cancel()


asyncio.run(main())
