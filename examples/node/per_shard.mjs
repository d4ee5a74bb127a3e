// What each shard of a bot often does with Redis, without: it answers the others, tells them what has changed, and keeps a
// leaderboard with all of them. `npm ci; APOLO_BOT_TOKEN=simulated node per_shard.mjs`, beside `apolo dev`.
import WebSocket from "ws";

const url = process.env.APOLO_BOT_URL ?? "ws://127.0.0.1:3001/bot/v1";
const headers = { authorization: `Bearer ${process.env.APOLO_BOT_TOKEN}` };
const guilds = new Map(); // of each shard

const handlers = {
  "get-guild-count": (shard) => guilds.get(shard)?.size ?? 0,
  "guild-created": (shard, { guild, members }) => {
    if (shard === 0) console.log(`guild ${guild} has joined, with ${members} members`);
  },
};

function connect() {
  const socket = new WebSocket(url, { headers });
  const say = (frame) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(frame));
  const ask = () => say({ type: "request", id: "counts", event: "get-guild-count", receiver: "all" });
  const asking = setInterval(ask, 1000);

  function guildCreated(shard, { id: guild, member_count: members, joined_at: joined }) {
    if (!guilds.has(shard)) guilds.set(shard, new Set());
    guilds.get(shard).add(guild);
    if (Date.now() - Date.parse(joined) > 60_000) return; // READY brings all guilds that were there before
    const score = { key: "largest", member: guild, change: { set: members } };
    say({ type: "kv", namespace: "guilds", ask: { score } });
    say({ type: "broadcast", event: "guild-created", receiver: "all", data: { guild, members } });
  }

  socket.on("open", () => {
    say({ type: "register", events: Object.keys(handlers), idempotent: true });
    say({ type: "subscribe", events: ["GUILD_CREATE"] });
  });
  socket.on("message", (text) => {
    const frame = JSON.parse(text);
    if (frame.type === "event") {
      guildCreated(frame.shard, frame.data);
      say({ type: "ack", delivery: frame.delivery });
    } else if (frame.type === "request" || frame.type === "broadcast") {
      const data = handlers[frame.event](frame.receiver.shard, frame.data);
      say({ type: "response", id: frame.id, receiver: frame.receiver, data });
    } else if (frame.type === "response" && frame.id === "counts") {
      const counts = Object.values(frame.data.answers);
      console.log(`${counts.reduce((sum, count) => sum + count, 0)} guilds on ${counts.length} shards`);
    } else if (frame.type === "error") {
      console.error(frame.error.message);
    }
  });
  socket.on("error", (error) => console.error(`no connection: ${error.message}`));
  socket.on("close", () => {
    clearInterval(asking);
    setTimeout(connect, 1000);
  });
}

connect();
