// The verdict over everything, and the sentences that say why. Pure.

import { silent } from './nodes.js';
import { STATES } from './states.js';
import { number, plural } from './words.js';

const LEVELS = ['healthy', 'degraded', 'critical'];
const TITLES = { healthy: 'Healthy', degraded: 'Degraded', critical: 'Critical', waiting: 'Waiting', unknown: 'Connecting' };

// What the conditions of `/ready` are about that is said in words of this page's own.
const SAID_HERE = new Set(['member', 'halt', 'draining']);
const FATAL = new Set(['store', 'leader', 'lease']);

export function verdict(status, ready, counts) {
  if (!status) return { level: 'unknown', title: TITLES.unknown, reasons: [], notes: [] };
  const name = status.node?.name || 'this node';
  const notes = [...(ready?.notes ?? [])];
  if (status.waiting) {
    const reasons = [`${name} is not a member of a cluster yet: ${status.waiting}`];
    return { level: 'waiting', title: TITLES.waiting, reasons, notes };
  }

  const found = [];
  const add = (level, text) => found.push({ level, text });
  if (status.halted) {
    const { code, shard, advice } = status.halted;
    add('critical', `Identifies are halted: Discord closed shard ${shard} with ${code}. ${advice}`);
  }
  const failing = (ready?.conditions ?? []).filter((it) => !it.holds && !SAID_HERE.has(it.name));
  for (const { name: what, detail } of failing) add(FATAL.has(what) ? 'critical' : 'degraded', `${name}, ${what}: ${detail}`);
  const said = new Set(failing.map((it) => it.name));
  if (status.storeFailure && !said.has('store')) add('critical', `${name}, store: ${status.storeFailure}`);
  if (!status.leader && !said.has('leader')) add('critical', 'No leader is known.');

  for (const node of status.nodes ?? []) {
    const owned = node.shards ? ` and still owns ${plural(node.shards, 'shard')}` : '';
    if (node.lost) add('degraded', `${node.name} is lost${owned}.`);
    else if (silent(node)) notes.push(`${node.name} does not answer ${name}.`);
    if (node.drains && !node.lost) notes.push(`${node.name} hands its shards off.`);
  }
  if (status.draining && !(status.nodes ?? []).some((it) => it.drains && it.name === name)) {
    notes.push(`${name} hands its shards off and will stop.`);
  }

  const health = status.health;
  if (!health) add('degraded', 'The number of shards is not known yet.');
  else if (health.readyShards < health.totalShards) {
    const parts = STATES.filter((state) => state.name !== 'ready' && state.name !== 'behind' && counts[state.name])
      .map((state) => `${number(counts[state.name])} ${state.label}`);
    const missing = health.totalShards - health.readyShards;
    const which = parts.length ? `: ${parts.join(', ')}` : '';
    add('degraded', `${number(missing)} of ${plural(health.totalShards, 'shard')} ${missing === 1 ? 'is' : 'are'} not connected${which}.`);
  }
  if (counts.behind) notes.push(`${plural(counts.behind, 'shard')} wait${counts.behind === 1 ? 's' : ''} for handlers to catch up.`);

  const worst = Math.max(LEVELS.indexOf(health?.status ?? 'degraded'), ...found.map((it) => LEVELS.indexOf(it.level)));
  const level = LEVELS[Math.max(0, worst)];
  found.sort((a, b) => LEVELS.indexOf(b.level) - LEVELS.indexOf(a.level));
  const reasons = found.map((it) => it.text);
  if (!reasons.length) reasons.push(calm(status));
  return { level, title: TITLES[level], reasons, notes };
}

function calm({ health, nodes = [], leader }) {
  const on = nodes.length > 1 ? ` on ${plural(nodes.length, 'node')}; ${leader} leads` : '';
  if (!health?.totalShards) return `Every condition holds${on}.`;
  const all = health.totalShards === 1 ? 'The only shard is' : `All ${number(health.totalShards)} shards are`;
  return `${all} connected${on}.`;
}
