// What happened: a strip of failovers and handoffs with their durations, and the list of all events.

import { element, list, milliseconds, moment, number, plural, span, write } from './words.js';

const KINDS = {
  failover: ['failover', 'moves'],
  handoff: ['handoff', 'moves'],
  shardMoved: ['moved', 'moves'],
  resharded: ['resharded', 'moves'],
  nodeJoined: ['joined', 'nodes'],
  nodeLeft: ['left', 'nodes'],
  nodeLost: ['lost', 'nodes'],
  nodeBack: ['back', 'nodes'],
  nodeDraining: ['draining', 'nodes'],
  nodeUndrained: ['undrained', 'nodes'],
  leaderChanged: ['leader', 'nodes'],
  nodeStarted: ['started', 'nodes'],
  shardReady: ['ready', 'shards'],
  shardDisconnected: ['disconnected', 'shards'],
  shardDead: ['dead', 'shards'],
  halted: ['halted', 'shards'],
  unhalted: ['unhalted', 'shards'],
};

export const EVENT_KINDS = Object.keys(KINDS);

const KEPT_MAX = 2_048;
const SHOWN_MAX = 300;
// Events of one kind that follow each other this closely are one row: a node's shards come and go together.
const TOGETHER_MS = 5_000;
const APART = new Set(['failover', 'handoff', 'nodeLost', 'nodeBack', 'halted', 'unhalted', 'leaderChanged', 'resharded']);

const MINUTE = 60_000;
const SPANS = [5, 15, 60, 360, 1_440].map((minutes) => minutes * MINUTE);
const LANES = { failover: 4, handoff: 24, other: 44 };

export class Timeline {
  constructor() {
    this.events = [];
    this.filter = 'all';
    this.changed = true;
    this.box = document.getElementById('events');
    this.empty = document.getElementById('time-empty');
    this.buttons = [...document.querySelectorAll('#filter button')];
    for (const button of this.buttons) button.addEventListener('click', () => this.choose(button.dataset.of));
  }

  // Takes an event of the stream. Ids only grow within one process: one that does not starts another list.
  take(event, kind) {
    const id = Number(event.id);
    if (!Number.isFinite(id)) return;
    if (this.renewed || (this.events.length && id <= this.events.at(-1).id)) this.clear();
    this.events.push({ ...event, id, kind: event.kind ?? kind, shards: Array.isArray(event.shards) ? event.shards : [] });
    if (this.events.length > KEPT_MAX) this.events.splice(0, this.events.length - KEPT_MAX);
    this.changed = true;
  }

  // What comes next is told from the beginning. What is shown stays until it does, or until there is nothing to tell.
  renew() {
    this.renewed = true;
    clearTimeout(this.renewing);
    this.renewing = setTimeout(() => this.renewed && this.clear(), 1_500);
  }

  clear() {
    this.renewed = false;
    this.events = [];
    this.changed = true;
  }

  // The latest events that name a shard, the latest first.
  of(shard, max) {
    const found = [];
    for (let at = this.events.length - 1; at >= 0 && found.length < max; at -= 1) {
      if (this.events[at].shards.includes(shard)) found.push(this.events[at]);
    }
    return found;
  }

  last(kind) {
    return this.events.findLast((event) => event.kind === kind);
  }

  choose(filter) {
    this.filter = filter;
    for (const button of this.buttons) button.setAttribute('aria-pressed', String(button.dataset.of === filter));
    this.changed = true;
    this.render();
  }

  render(now = Date.now()) {
    this.renderStrip(now);
    if (!this.changed) return;
    this.changed = false;
    const wanted = this.events.filter((event) => this.filter === 'all' || KINDS[event.kind]?.[1] === this.filter);
    const rows = together(wanted).slice(-SHOWN_MAX).reverse();
    this.box.hidden = !rows.length;
    this.empty.hidden = Boolean(rows.length);
    write(this.empty, this.events.length ? 'None of these yet.'
      : 'Nothing has happened since this node started. A node that dies, a drain and a new leader show here, with how long each took.');
    const longest = Math.max(1, ...rows.map((row) => row.tookMs ?? 0));
    // Whoever has scrolled down reads on where they were.
    const { scrollTop, scrollHeight } = this.box;
    this.box.replaceChildren(...rows.map((row) => this.row(row, longest)));
    if (scrollTop > 0) this.box.scrollTop = scrollTop + this.box.scrollHeight - scrollHeight;
  }

  row(row, longest) {
    const time = element('time', { datetime: isoOf(row.atMs) }, moment(row.atMs));
    const tag = element('span', { class: `tag ${row.kind in KINDS ? row.kind : ''}` }, KINDS[row.kind]?.[0] ?? String(row.kind));
    const text = element('span', { class: 'text' }, String(row.text ?? ''));
    if (row.times > 1) text.append(element('b', { class: 'times' }, ` ×${number(row.times)}`));
    // A sentence names its own shards; that of several events names those of the first.
    const several = row.times > 1 || row.to.size > 1;
    if (several && row.shards.length > 0) text.append(element('span', { class: 'which' }, ` ${row.shards.length === 1 ? 'shard' : 'shards'} ${list(row.shards)}`));
    const item = element('li', {}, time, tag, text);
    if (Number.isFinite(row.tookMs)) {
      const bar = element('i', { 'aria-hidden': 'true' });
      bar.style.width = `${Math.max(2, (100 * row.tookMs) / longest)}%`;
      item.append(element('span', { class: `took ${row.kind}` }, bar, element('b', {}, milliseconds(row.tookMs))));
    }
    return item;
  }

  renderStrip(now) {
    const strip = document.getElementById('strip');
    strip.hidden = !this.events.length;
    if (strip.hidden) return;
    const moves = this.events.filter((event) => event.kind === 'failover' || event.kind === 'handoff');
    // A server whose clock is ahead must not push the latest out of sight.
    const end = Math.max(now, this.events.at(-1).atMs);
    const oldest = (moves[0] ?? this.events[0]).atMs;
    const width = SPANS.find((it) => it >= end - oldest) ?? SPANS.at(-1);
    const step = Math.floor(end / (width / 500));
    const key = `${width}:${step}:${this.events.at(-1).id}`;
    if (key === this.key) return;
    this.key = key;
    const x = (at) => 1_000 - (1_000 * (end - at)) / width;
    const lanes = document.getElementById('lanes');
    const marks = [];
    for (const event of this.events) {
      if (end - event.atMs > width) continue;
      const lane = event.kind === 'failover' || event.kind === 'handoff' ? event.kind : 'other';
      if (event.kind === 'shardReady' || event.kind === 'shardDisconnected' || event.kind === 'shardMoved') continue;
      const long = Math.max(lane === 'other' ? 2 : 5, (1_000 * (event.tookMs ?? 0)) / width);
      marks.push(rect(x(event.atMs) - long, LANES[lane], long, 14, lane));
    }
    lanes.replaceChildren(...Object.entries(LANES).map(([lane, y]) => rect(0, y + 6.5, 1_000, 1, `line ${lane}`)), ...marks);
    const counted = ['failover', 'handoff'].map((kind) => {
      const of = moves.filter((event) => event.kind === kind && end - event.atMs <= width);
      const most = Math.max(...of.map((event) => event.tookMs ?? 0));
      return of.length ? `${of.length} ${kind}s, the longest ${milliseconds(most)}` : `no ${kind}s`;
    });
    lanes.setAttribute('aria-label', `The last ${span(width)}: ${counted.join('; ')}`);
    write(document.getElementById('axis-from'), `${span(width)} ago`);
  }
}

function rect(x, y, width, height, kind) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
  for (const [name, value] of Object.entries({ x, y, width, height, class: kind })) made.setAttribute(name, value);
  return made;
}

function isoOf(at) {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? null : date.toISOString();
}

// Merges events of one kind and node that happened together, and those of a dead node's shards that go to several.
function together(events) {
  const rows = [];
  for (const event of events) {
    const last = rows.at(-1);
    const moved = event.kind === 'shardMoved';
    const same = last && last.kind === event.kind && last.from === event.from && (moved || last.node === event.node);
    if (same && !APART.has(event.kind) && event.atMs - last.atMs < TOGETHER_MS) {
      last.times += 1;
      last.shards = [...new Set([...last.shards, ...event.shards])].sort((a, b) => a - b);
      last.to.add(event.node);
      if (last.to.size > 1) {
        last.text = `${plural(last.shards.length, 'shard')} of ${event.from ?? 'nobody'} go to ${plural(last.to.size, 'node')}`;
        last.times = 1;
      }
    } else {
      rows.push({ ...event, times: 1, to: new Set([event.node]) });
    }
  }
  return rows;
}
