// The table of nodes, and that of the consumers' groups.

import { NONE, element, milliseconds, number, plural, span, write } from './words.js';

const ROLES = { leader: 'leader', voter: 'voter', learner: 'learner', none: 'none' };

// A learner that has just joined is this far behind for a moment; later it is worth a look.
const LAG_MAX = 1_000;

// Fills a table: rows are kept by key, so that a second's update changes texts and nothing else.
class Table {
  constructor(body, columns) {
    this.body = body;
    this.columns = columns;
    this.rows = new Map();
  }

  fill(items, keyOf) {
    const keys = items.map(keyOf);
    const before = [...this.rows.keys()];
    const kept = new Set(keys);
    for (const key of before) if (!kept.has(key)) this.rows.delete(key);
    items.forEach((item, at) => {
      let cells = this.rows.get(keys[at]);
      if (!cells) {
        cells = this.columns.map(({ label, number: right, head }) =>
          element(head ? 'th' : 'td', { 'data-label': label, class: right ? 'n' : null, scope: head ? 'row' : null }));
        this.rows.set(keys[at], cells);
      }
      this.columns.forEach(({ read }, column) => read(item, cells[column]));
    });
    if (keys.length !== before.length || keys.some((key, at) => key !== before[at])) {
      this.rows = new Map(keys.map((key) => [key, this.rows.get(key)]));
      this.body.replaceChildren(...keys.map((key) => element('tr', {}, ...this.rows.get(key))));
    }
  }
}

const text = (read) => (item, cell) => write(cell, read(item));

// A node that is asked and answers says which version it is.
export const silent = (node) => !node.lost && node.version === undefined;

// The words for a node's condition, the worst first.
function condition(node) {
  if (node.lost) return ['lost', 'lost'];
  if (node.drains) return ['draining', node.shards ? 'draining' : 'drained'];
  if (silent(node)) return ['silent', 'silent'];
  return ['up', 'up'];
}

export class Nodes {
  constructor() {
    this.table = document.getElementById('nodes');
    this.empty = document.getElementById('nodes-empty');
    this.under = document.getElementById('nodes-under');
    this.nodes = new Table(this.table.tBodies[0], [
      { label: 'Node', head: true, read: (node, cell) => this.name(node, cell) },
      { label: 'Role', read: (node, cell) => badge(cell, ROLES[node.role] ?? node.role, node.role) },
      { label: 'State', read: (node, cell) => badge(cell, condition(node)[1], condition(node)[0]) },
      { label: 'Shards', number: true, read: text((node) => number(node.shards)) },
      { label: 'Lag', number: true, read: (node, cell) => lag(node, cell) },
      { label: 'Round trip', number: true, read: text((node) => milliseconds((node.roundTripUs || NaN) / 1_000)) },
      { label: 'Version', read: text((node) => node.version ?? NONE) },
      { label: 'Up', number: true, read: text((node) => span(node.lost ? NaN : node.uptimeMs ?? NaN)) },
    ]);
    this.consumers = document.getElementById('consumers');
    this.groups = new Table(this.consumers.querySelector('tbody'), [
      { label: 'Group', head: true, read: (group, cell) => write(cell, group.required ? `${group.name} (required)` : group.name) },
      { label: 'Connected', number: true, read: (group, cell) => {
        cell.classList.toggle('bad', group.required && !group.consumers);
        write(cell, group.required && !group.consumers ? '0, events wait' : number(group.consumers));
      } },
      { label: 'Waiting', number: true, read: text((group) => number(group.waiting)) },
      { label: 'Unacknowledged', number: true, read: text((group) => number(group.unacknowledged)) },
      { label: 'Oldest', number: true, read: text((group) => milliseconds(group.oldestMs ?? NaN)) },
    ]);
  }

  name(node, cell) {
    if (cell.dataset.of === node.name + node.id + this.here) return;
    cell.dataset.of = node.name + node.id + this.here;
    const name = element('bdi', { class: 'name', title: node.id }, node.name || node.id);
    const here = node.id === this.here ? element('span', { class: 'badge here' }, 'answers') : null;
    cell.replaceChildren(...[name, here].filter(Boolean));
  }

  render(status) {
    const { nodes = [], node = {}, leader, term, target, consumers } = status;
    this.here = node.id;
    this.table.parentElement.hidden = !nodes.length;
    this.empty.hidden = Boolean(nodes.length);
    if (!nodes.length) {
      write(this.empty, status.waiting
        ? `${node.name} knows no members yet. Exactly as many empty nodes as --expect says form a cluster, or this one joins a cluster that it finds: start the others with the same line, and open their ports for UDP.`
        : 'This node knows no members yet.');
    }
    const lead = !nodes.length ? '' : leader ? `${leader} leads, term ${number(term)}` : 'no leader is known';
    write(this.under, target ? `${lead}; ${plural(target.shardsPerNode, 'shard')} a node wanted` : lead);
    this.nodes.fill(nodes.map((it) => (it.id === node.id
      ? { ...it, version: it.version ?? node.version, uptimeMs: it.uptimeMs ?? node.uptimeMs } : it)), (it) => it.id);

    this.consumers.hidden = !consumers;
    if (!consumers) return;
    write(document.getElementById('consumers-under'), consumers.groups.length
      ? `They connect to ${consumers.url}.`
      : `Nobody is connected to ${consumers.url}, and events wait for nobody.`);
    this.groups.body.parentElement.hidden = !consumers.groups.length;
    this.groups.fill(consumers.groups, (group) => group.name);
  }
}

function badge(cell, word, kind) {
  if (cell.dataset.of === word) return;
  cell.dataset.of = word;
  cell.replaceChildren(element('span', { class: `badge ${kind}` }, word));
}

function lag({ lag: entries, lost }, cell) {
  cell.classList.toggle('bad', !lost && entries > LAG_MAX);
  write(cell, number(entries ?? NaN));
}
