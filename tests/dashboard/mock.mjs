// A node's HTTP as the page sees it, with a cluster that can be told what happens to it.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';

const PAGE = new URL('../../src/http/dashboard/', import.meta.url);
const TYPES = { html: 'text/html; charset=utf-8', css: 'text/css; charset=utf-8', js: 'text/javascript; charset=utf-8', svg: 'image/svg+xml' };
const CONDITIONS = ['member', 'lease', 'leader', 'store', 'draining', 'halt', 'shards'];

export class Mock {
  constructor({ nodes = 3, shards = 48 * nodes, tickMs = 1_000, names = (n) => `apolo-${n}`, seed = 7 } = {}) {
    this.tickMs = tickMs;
    this.random = randomFrom(seed);
    this.startedAt = Date.now() - 9_400_000;
    this.events = [];
    this.streams = new Map();
    this.changed = new Set();
    this.owed = new Set();
    this.asked = [];
    this.nodes = Array.from({ length: nodes }, (_, n) => ({
      id: `${(0x9c41 + n * 7_919).toString(16)}`, name: names(n), role: n === 0 ? 'leader' : n < 5 ? 'voter' : 'learner',
      lost: false, drains: false, shards: 0, boot: 3, version: '0.4.0', lag: n ? Math.floor(this.random() * 3) : 0,
      roundTripUs: n ? 300 + Math.floor(1_000 * this.random()) : 0, uptimeMs: 9_400_000 - n * 61_000,
    }));
    this.shards = Array.from({ length: shards }, (_, shard) => this.row(shard, this.nodes[shard % nodes].name));
    this.view = {
      node: { id: this.nodes[0]?.id ?? 'a1', name: names(0), version: '0.4.0', uptimeMs: 0 },
      waiting: null, leader: this.nodes[0]?.name ?? null, term: 4, lease: true, storeFailure: null, writeUnderWayMs: null, silentMs: 0,
      draining: false, halted: null,
      identifies: { max_concurrency: 16, total: 1_000, remaining: 952, resets_at: Date.now() + 4 * 3_600_000 + 900_000 },
      kept: { bytes: 13_100_000, limit: 67_108_864 },
      consumers: { url: 'ws://127.0.0.1:3001/bot/v1', groups: [
        { name: 'bot', required: true, consumers: 2, waiting: 4, unacknowledged: 31, oldestMs: 120 },
        { name: 'audit', required: false, consumers: 1, waiting: 0, unacknowledged: 2, oldestMs: 15 }] },
    };
    this.ready = { ready: true, conditions: CONDITIONS.map((name) => ({ name, holds: true, detail: '' })), notes: [] };
  }

  row(shard, node) {
    const guilds = 900 + Math.floor(this.random() * 200);
    const sequence = 20_000 + Math.floor(this.random() * 900_000);
    return { shard, status: 'ready', phase: 'connected', note: null, here: false, node, epoch: `1.${40 + (shard % 9)}`,
      session: 1, sequence, checkpoint: sequence - 3, guilds, members: guilds * 345, latencyMs: 30 + (shard % 23), connects: 1,
      lastDisconnect: null };
  }

  async listen(port = 0) {
    this.server = createServer((request, response) => this.answer(request, response));
    await new Promise((done) => this.server.listen(port, '127.0.0.1', done));
    this.timer = setInterval(() => this.tick(), this.tickMs);
    return `http://127.0.0.1:${this.server.address().port}`;
  }

  close() {
    clearInterval(this.timer);
    this.cut();
    this.server?.closeAllConnections();
    this.server?.close();
  }

  async answer(request, response) {
    const path = new URL(request.url, 'http://mock').pathname;
    this.asked.push(path);
    const stream = { '/api/v1/status/stream': 'status', '/api/v1/events': 'events' }[path];
    if (stream && this.refuses) {
      response.writeHead(503).end();
      return;
    }
    if (stream) {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
      response.write('retry: 300\n\n');
      this.streams.set(response, stream);
      response.on('close', () => this.streams.delete(response));
      if (stream === 'status' && this.frozen) this.owed.add(response);
      else if (stream === 'status') this.sendAll(response);
      const after = Number(request.headers['last-event-id'] ?? 0);
      if (stream === 'events') this.events.filter((it) => it.id > after).forEach((it) => sendEvent(response, it));
      return;
    }
    const name = path === '/' ? 'index.html' : /^\/dashboard\/([a-z]+\.(?:css|js|svg))$/.exec(path)?.[1];
    const body = name ? await readFile(new URL(name, PAGE)).catch(() => null) : null;
    if (body === null) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { 'content-type': TYPES[name.split('.').pop()], 'content-security-policy': "default-src 'self'" });
    response.end(body);
  }

  sendAll(response) {
    send(response, 'status', this.seen());
    send(response, 'ready', this.ready);
    const total = this.shards.length;
    for (let at = 0; at < total || at === 0; at += 1_000) send(response, 'shards', { total, rows: this.shards.slice(at, at + 1_000) });
  }

  seen() {
    const count = (name) => this.shards.filter((row) => row.node === name).length;
    this.nodes.forEach((node) => Object.assign(node, { shards: count(node.name) }));
    const ready = this.shards.filter((row) => row.status === 'ready').length;
    const total = this.shards.length;
    const sum = (key) => this.shards.reduce((all, row) => all + row[key], 0);
    const health = total === 0 ? null : { status: ready === total ? 'healthy' : ready * 2 >= total ? 'degraded' : 'critical',
      totalShards: total, readyShards: ready, totalGuilds: sum('guilds'), totalMembers: sum('members') };
    return { ...this.view, health, nodes: this.nodes, node: { ...this.view.node, uptimeMs: Date.now() - this.startedAt } };
  }

  // A second passes: events flow on the shards that are connected, and what changed is sent.
  tick() {
    if (this.frozen) return;
    for (const row of this.shards) {
      if (row.phase !== 'connected') continue;
      row.sequence += Math.floor((this.tickMs / 1_000) * (20 + this.random() * 20));
      row.checkpoint = row.sequence - Math.floor(this.random() * 8);
      this.changed.add(row.shard);
    }
    for (const node of this.nodes) if (!node.lost) node.uptimeMs += this.tickMs;
    this.send();
  }

  send() {
    this.owed.forEach((response) => this.sendAll(response));
    this.owed.clear();
    const rows = [...this.changed].map((id) => this.shards[id]).filter(Boolean);
    this.changed.clear();
    const view = this.seen();
    for (const [response, stream] of this.streams) {
      if (stream !== 'status') continue;
      send(response, 'status', view);
      send(response, 'ready', this.ready);
      if (rows.length || this.total !== this.shards.length) send(response, 'shards', { total: this.shards.length, rows });
    }
    this.total = this.shards.length;
  }

  set(shard, fields) {
    Object.assign(this.shards[shard], fields);
    this.changed.add(shard);
  }

  happen(kind, fields = {}) {
    const id = (this.events.at(-1)?.id ?? 0) + 1;
    const event = { id, atMs: Date.now(), kind, node: null, from: null, shards: [], tookMs: null, text: kind, ...fields };
    this.events.push(event);
    for (const [response, stream] of this.streams) if (stream === 'events') sendEvent(response, event);
  }

  fail(name, detail) {
    this.ready.ready = false;
    Object.assign(this.ready.conditions.find((it) => it.name === name), { holds: false, detail });
  }

  // A node dies: its shards are known to be without a connection.
  kill(n) {
    const node = this.nodes[n];
    Object.assign(node, { lost: true, version: undefined });
    const rows = this.shards.filter((row) => row.node === node.name);
    rows.forEach((row) => this.set(row.shard, { status: 'disconnected', phase: 'elsewhere', sequence: 0, latencyMs: null }));
    this.happen('nodeLost', { node: node.name, text: `${node.name} has renewed no lease for 2.0 s` });
    this.send();
    return rows;
  }

  // The others take over the first `some` of the dead node's shards; all of them are a failover that is done.
  takeOver(n, some = Infinity, tookMs = 1_830) {
    const dead = this.nodes[n];
    const alive = this.nodes.filter((node) => !node.lost);
    const rows = this.shards.filter((row) => row.node === dead.name).slice(0, some);
    rows.forEach((row, at) => this.set(row.shard, { ...this.row(row.shard, alive[at % alive.length].name), epoch: '1.61', connects: 2 }));
    for (const node of alive) {
      const shards = rows.filter((row) => row.node === node.name).map((row) => row.shard);
      if (shards.length) this.happen('shardMoved', { from: dead.name, node: node.name, shards, text: `${node.name} owns ${shards.length} shards of ${dead.name}` });
    }
    if (some === Infinity) {
      const shards = rows.map((row) => row.shard);
      this.happen('failover', { from: null, node: dead.name, shards, tookMs, text: `${dead.name}'s ${shards.length} shards run again after ${(tookMs / 1_000).toFixed(1)} s` });
    }
    this.send();
  }

  // Ends the streams, as a server does now and then.
  cut() {
    for (const response of this.streams.keys()) response.end();
  }
}

function send(response, kind, data) {
  response.write(`event: ${kind}\ndata: ${JSON.stringify(data)}\n\n`);
}

function sendEvent(response, event) {
  response.write(`id: ${event.id}\nevent: ${event.kind}\ndata: ${JSON.stringify(event)}\n\n`);
}

function randomFrom(seed) {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 4_294_967_296;
    return state / 4_294_967_296;
  };
}
