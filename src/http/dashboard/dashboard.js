// The page: two streams in, everything that is shown out.

import { Details } from './details.js';
import { verdict } from './health.js';
import { ShardMap } from './map.js';
import { Nodes } from './nodes.js';
import { Shards } from './shards.js';
import { Stream } from './stream.js';
import { EVENT_KINDS, Timeline } from './timeline.js';
import { NONE, bytes, compact, milliseconds, moment, number, plural, rate, span, write } from './words.js';

// Browsers give a host six connections in all, and a tab in the background needs no second one.
const HIDDEN_MAX_MS = 60_000;
const RATES_MAX = 120;

const at = (id) => document.getElementById(id);

let status = null;
let ready = null;
let rates = [];
let asked = false;

const shards = new Shards();
const nodes = new Nodes();
const timeline = new Timeline();
const map = new ShardMap(shards, (id) => details.show(id));
const details = new Details(shards, timeline, () => map.hold(null));

const events = new Stream('/api/v1/events', Object.fromEntries(EVENT_KINDS.map((kind) => [kind, (event) => {
  timeline.take(event, kind);
  soon();
}])), { opened: () => timeline.renew() });

const main = new Stream('/api/v1/status/stream', {
  status: (view) => {
    // Another process answers, whose events have ids of their own.
    const other = status && (status.node.id !== view.node.id || view.node.uptimeMs < status.node.uptimeMs);
    status = view;
    // Rows come with the status. Where none did, nothing flows.
    if (performance.now() - shards.at > 2_500) shards.at = performance.now();
    rates = [...rates, shards.rateOfAll()].slice(-RATES_MAX);
    if (other && !events.closed) events.open();
    soon();
  },
  shards: (message) => {
    shards.take(message);
    soon();
  },
  ready: (readiness) => {
    ready = readiness;
    soon();
  },
}, { watch: true, opened: () => { if (main?.lastAt && !events.closed) events.open(); } });

// One painting takes all that has come in since the last.
function soon() {
  titles();
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    render();
  });
}

function render() {
  renderLink();
  renderVerdict();
  if (!status) return;
  renderFigures();
  nodes.render(status);
  map.render(status.nodes ?? []);
  renderEmptyMap();
  details.render();
  timeline.render();
}

function renderLink() {
  const state = main.state();
  document.body.dataset.link = state;
  const since = main.lastAt ? moment(main.lastAt) : null;
  const quiet = span(Date.now() - (main.lastAt ?? main.openedAt));
  const stale = since ? `Stale since ${since}` : 'No answer';
  write(at('link-text'), { opening: 'Connecting', live: 'Live', reconnecting: 'Reconnecting', stale }[state]);
  at('old').hidden = state !== 'stale';
  if (state !== 'stale') return;
  const why = `The node has said nothing for ${quiet}.`;
  write(at('old'), since ? `${why} What follows is from ${since} and may be wrong.` : `${why} It is down, or something between it and you is.`);
}

function judged() {
  return verdict(status, ready, shards.counts);
}

function renderVerdict() {
  const { level, title, reasons, notes } = judged();
  const stale = document.body.dataset.link === 'stale';
  document.body.dataset.level = level;
  const shown = stale ? (status ? `Unknown; was ${title.toLowerCase()}` : 'Unknown') : title;
  write(at('verdict-title'), shown);
  items(at('reasons'), reasons);
  items(at('notes'), notes);
  say(stale, stale ? 'The page is stale: the node has gone silent.' : `${title}. ${reasons[0] ?? ''}`, shown);
}

function items(box, texts) {
  texts.forEach((text, index) => {
    if (!box.children[index]) box.append(document.createElement('li'));
    write(box.children[index], text);
  });
  while (box.children.length > texts.length) box.lastChild.remove();
}

// Says a change of the verdict to a screen reader, once it has held for a moment.
let said = null;
let saying;
let words;
function say(stale, latest, key) {
  words = latest;
  if (key === said || (said === null && !status && !stale)) return;
  said = key;
  clearTimeout(saying);
  saying = setTimeout(() => write(at('said'), words), 800);
}

// In a tab in the background nothing is painted, and the title is all that shows.
function titles() {
  const stale = main.state() === 'stale';
  const { title, level } = judged();
  const health = status?.health;
  const sign = { healthy: '✓', degraded: '▲', critical: '✖' }[level] ?? '…';
  const figures = health ? ` ${health.readyShards}/${health.totalShards}` : '';
  const wanted = stale ? '? stale – apolo' : `${sign}${figures} ${title.toLowerCase()} – apolo`;
  if (document.title !== wanted) document.title = wanted;
}

function renderFigures() {
  const { health, identifies, kept, node } = status;
  write(at('seen'), `as ${node.name || 'this node'} sees it${node.version ? ` · ${node.version}` : ''} · up ${span(node.uptimeMs)}`);

  write(at('ready-shards'), health ? number(health.readyShards) : NONE);
  const owners = (status.nodes ?? []).filter((it) => it.shards > 0).length;
  write(at('ready-under'), health ? `of ${number(health.totalShards)}, on ${plural(owners, 'node')}` : 'number not known yet');
  write(at('guilds'), health ? compact(health.totalGuilds) : NONE);
  write(at('members'), health ? `${compact(health.totalMembers)} members` : '');
  write(at('rate'), rate(rates.at(-1)));
  renderRates();

  write(at('identifies'), identifies ? number(identifies.remaining) : NONE);
  meter(at('identifies-bar'), identifies?.remaining, identifies?.total, (part) => part < 0.1);
  const resets = identifies?.resets_at ?? identifies?.resetsAt;
  const left = resets - Date.now();
  write(at('identifies-under'), !identifies ? 'not asked Discord yet'
    : `of ${number(identifies.total)}; all again ${left > 0 ? `in ${span(left)}` : 'by now'}`);
  at('identifies-under').title = Number.isFinite(resets) ? `at ${moment(resets)}` : '';

  write(at('kept'), kept?.limit ? bytes(kept.bytes) : NONE);
  meter(at('kept-bar'), kept?.bytes, kept?.limit, (part) => part > 0.8);
  write(at('kept-under'), kept?.limit ? `${fill(kept)} of ${bytes(kept.limit)}` : '');

  const failover = timeline.last('failover');
  write(at('failover'), failover ? milliseconds(failover.tookMs ?? NaN) : 'none');
  write(at('failover-under'), failover ? `${failover.node ?? ''} at ${moment(failover.atMs)}, from when it was given up` : 'since this node started');
}

// The last two minutes; less fills the width sooner.
function renderRates() {
  const known = rates.filter((it) => !Number.isNaN(it));
  const width = Math.max(known.length, RATES_MAX / 4) - 1;
  const top = Math.max(1, ...known) * 1.08;
  const points = known.map((it, index) => `${(1 - (known.length - 1 - index) / width).toFixed(4)},${(1 - it / top).toFixed(4)}`);
  const [area, line] = at('spark').children;
  line.setAttribute('points', points.join(' '));
  const from = points[0]?.split(',')[0];
  area.setAttribute('points', points.length > 1 ? `${from},1 ${points.join(' ')} 1,1` : '');
  write(at('rate-under'), known.length > 1 ? `${rate(Math.min(...known))} to ${rate(Math.max(...known))} in ${span(known.length * 1_000)}` : 'over all shards');
}

function fill({ bytes: used, limit }) {
  const percent = (100 * used) / limit;
  return percent > 0 && percent < 1 ? 'below 1 %' : `${Math.round(percent)} %`;
}

function meter(bar, value, max, isLow) {
  bar.hidden = !(max > 0);
  if (bar.hidden) return;
  const part = Math.min(1, Math.max(0, value / max));
  bar.setAttribute('aria-valuemax', max);
  bar.setAttribute('aria-valuenow', value);
  bar.firstElementChild.style.width = `${100 * part}%`;
  bar.classList.toggle('low', isLow(part));
}

function renderEmptyMap() {
  const box = at('map-empty');
  const none = !shards.rows.some(Boolean);
  box.hidden = !none;
  for (const id of ['legend', 'map-help', 'find', 'details']) at(id).hidden = none;
  if (!none) return;
  write(box, status.waiting
    ? 'No shard runs before this node is a member of a cluster.'
    : status.leader
      ? 'No shards are known yet. The leader asks Discord how many the bot needs, unless TOTAL_SHARDS says so; they show here as soon as it has an answer.'
      : 'No shards are known yet, and nobody leads: more than half of the voters must reach each other first.');
}

at('find').addEventListener('submit', (event) => {
  event.preventDefault();
  const field = at('find-id');
  const there = /^\d+$/.test(field.value.trim()) && map.go(Number(field.value.trim()));
  field.setAttribute('aria-invalid', String(!there));
});

document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') map.hold(null);
});

let hiding;
document.addEventListener('visibilitychange', () => {
  clearTimeout(hiding);
  if (document.hidden) hiding = setTimeout(() => events.close(), HIDDEN_MAX_MS);
  else if (events.closed) events.open();
  soon();
});

// Silence must show without anything coming in.
setInterval(soon, 1_000);
soon();
