// The map of the shards: a cell each, under the node that owns it.

import { neighbour } from './keys.js';
import { silent } from './nodes.js';
import { NOBODY } from './shards.js';
import { STATES } from './states.js';
import { element, number, plural, write } from './words.js';

// Up to so many, a cell has room for the shard's number; up to so many, for a shape that a finger hits.
const NUMBERED_MAX = 320;
const ROOMY_MAX = 3_072;

// Where the details are not beside the map they lie over it: what opened under a pointer would take its click.
const beside = matchMedia('(min-width: 861px)');

export class ShardMap {
  // `onShow` is told which shard's details are wanted; null for none.
  constructor(shards, onShow) {
    this.shards = shards;
    this.onShow = onShow;
    this.box = document.getElementById('map');
    this.empty = document.getElementById('map-empty');
    this.legend = document.getElementById('legend');
    this.cells = [];
    this.groups = new Map();
    this.tabbed = null;
    this.held = null;
    this.makeLegend();
    this.listen();
  }

  makeLegend() {
    this.legends = new Map();
    for (const { name, label, hint } of STATES) {
      const count = element('b', {}, '0');
      const button = element('button', { type: 'button', title: hint, 'data-state': name },
        element('i', { class: 'mark', 'data-state': name, 'aria-hidden': 'true' }), count, ` ${label}`);
      button.addEventListener('click', () => this.next(name));
      this.legends.set(name, { button, count });
      this.legend.append(button);
    }
  }

  listen() {
    const idOf = (event) => {
      const cell = event.target.closest?.('.cell');
      return cell ? Number(cell.dataset.shard) : null;
    };
    this.box.addEventListener('pointerover', (event) => {
      const id = idOf(event);
      if (id !== null && event.pointerType === 'mouse' && beside.matches) this.onShow(id);
    });
    this.box.addEventListener('pointerleave', () => beside.matches && this.onShow(this.held));
    this.box.addEventListener('focusin', (event) => {
      const id = idOf(event);
      if (id === null) return;
      this.tab(id);
      if (event.target.matches(':focus-visible')) this.onShow(id);
    });
    this.box.addEventListener('click', (event) => {
      const id = idOf(event);
      if (id !== null) this.hold(id === this.held ? null : id);
    });
    this.box.addEventListener('keydown', (event) => this.key(event));
  }

  render(nodes) {
    const { shards } = this;
    const size = (shards.total ?? 0) <= NUMBERED_MAX ? 'numbered' : shards.total <= ROOMY_MAX ? 'roomy' : 'dense';
    if (this.box.dataset.size !== size) {
      this.box.dataset.size = size;
      this.cells.forEach((cell) => write(cell, size === 'numbered' ? cell.dataset.shard : ''));
    }
    const owners = this.update(size);
    const names = [...new Set(nodes.map((node) => node.name))];
    const order = names.join('\n');
    if (owners || order !== this.order) this.regroup(names);
    this.order = order;
    // A node that lost its disk comes back under its name beside what it was: the living one is meant.
    const byName = new Map([...nodes].sort((a, b) => b.lost - a.lost).map((node) => [node.name, node]));
    for (const node of byName.values()) this.describe(node);
    for (const group of this.groups.values()) summarise(group);
    for (const [name, { button, count }] of this.legends) {
      write(count, number(shards.counts[name]));
      button.disabled = !shards.counts[name];
    }
    this.fade();
  }

  // Brings the cells of changed shards up to date; says whether any has another owner.
  update(size) {
    const { rows, changed } = this.shards;
    let owners = false;
    for (const id of changed) {
      const known = rows[id];
      let cell = this.cells[id];
      if (!known) {
        cell?.remove();
        delete this.cells[id];
        if (this.held === id) this.hold(null);
        owners = true;
        continue;
      }
      if (!cell) {
        cell = element('button', { type: 'button', class: 'cell', tabindex: '-1', 'data-shard': id });
        if (size === 'numbered') cell.append(String(id));
        this.cells[id] = cell;
      }
      const owner = known.row.node ?? NOBODY;
      if (cell.owner !== owner) owners = true;
      cell.owner = owner;
      cell.dataset.state = known.state;
      const label = STATES.find((state) => state.name === known.state).label;
      cell.setAttribute('aria-label', `Shard ${id}, ${label}${owner ? `, on ${owner}` : ''}`);
      if (known.movedAt) cell.classList.add('moved');
    }
    changed.clear();
    this.cells.length = rows.length;
    return owners;
  }

  // Puts every cell under its owner: nodes in the cluster's order, then owners that it does not list, then nobody's.
  regroup(names) {
    const focused = document.activeElement?.closest?.('.cell');
    const byOwner = new Map(names.map((name) => [name, []]));
    const nobodys = [];
    this.cells.forEach((cell) => {
      if (cell.owner === NOBODY) nobodys.push(cell);
      else if (byOwner.has(cell.owner)) byOwner.get(cell.owner).push(cell);
      else byOwner.set(cell.owner, [cell]);
    });
    if (nobodys.length) byOwner.set(NOBODY, nobodys);

    for (const name of this.groups.keys()) if (!byOwner.has(name)) this.groups.delete(name);
    const boxes = [];
    for (const [name, cells] of byOwner) {
      const group = this.groups.get(name) ?? makeGroup(name);
      this.groups.set(name, group);
      const same = group.cells.length === cells.length && cells.every((cell, at) => group.cells[at] === cell);
      if (!same) group.grid.replaceChildren(...cells);
      group.cells = cells;
      boxes.push(group.box);
    }
    if (boxes.some((box, at) => this.box.children[at] !== box) || this.box.children.length !== boxes.length) {
      this.box.replaceChildren(...boxes);
    }
    if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
    if (this.tabbed === null || !this.cells[this.tabbed]) this.tab(this.inOrder()[0]?.dataset.shard ?? null);
  }

  describe(node) {
    const group = this.groups.get(node.name);
    if (!group) return;
    const words = [node.role === 'leader' ? 'leader' : null, node.lost ? 'lost' : null,
      node.drains && !node.lost ? 'draining' : null, silent(node) ? 'silent' : null];
    const badges = words.filter(Boolean);
    if (group.badges.dataset.of !== badges.join()) {
      group.badges.dataset.of = badges.join();
      group.badges.replaceChildren(...badges.map((word) => element('span', { class: `badge ${word}` }, word)));
    }
    group.box.classList.toggle('lost', node.lost);
  }

  fade() {
    const now = performance.now();
    for (const cell of this.box.querySelectorAll('.moved')) {
      if (now - (this.shards.rows[cell.dataset.shard]?.movedAt ?? 0) > 4_000) cell.classList.remove('moved');
    }
  }

  inOrder() {
    return [...this.groups.values()].flatMap((group) => group.cells);
  }

  // One cell at a time is in the tab order.
  tab(id) {
    if (this.tabbed !== null) this.cells[this.tabbed]?.setAttribute('tabindex', '-1');
    this.tabbed = id === null ? null : Number(id);
    this.cells[this.tabbed]?.setAttribute('tabindex', '0');
  }

  hold(id) {
    if (this.held !== null) this.cells[this.held]?.removeAttribute('aria-current');
    this.held = id;
    this.cells[id]?.setAttribute('aria-current', 'true');
    this.onShow(id);
    if (!beside.matches) this.cells[id]?.scrollIntoView({ block: 'nearest' });
  }

  // Goes to a shard and holds it; says whether it is there.
  go(id) {
    const cell = this.cells[id];
    if (!cell) return false;
    this.hold(id);
    cell.focus();
    cell.scrollIntoView({ block: 'nearest' });
    return true;
  }

  // The next shard in `state`, from the one that is held on.
  next(state) {
    const order = this.inOrder();
    const from = this.held === null ? -1 : order.indexOf(this.cells[this.held]);
    const turned = [...order.slice(from + 1), ...order.slice(0, from + 1)];
    const cell = turned.find((it) => it.dataset.state === state);
    if (cell) this.go(Number(cell.dataset.shard));
  }

  key(event) {
    const cell = event.target.closest('.cell');
    if (!cell || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === 'Escape') {
      this.hold(null);
      return;
    }
    const to = neighbour([...this.groups.values()], cell, event.key);
    if (to === undefined) return;
    event.preventDefault();
    to?.focus();
  }
}

function makeGroup(name) {
  const title = name === NOBODY ? 'No node' : name;
  const count = element('span', { class: 'count' });
  const badges = element('span', { class: 'badges' });
  const grid = element('div', { class: 'cells' });
  const head = element('h3', {}, element('bdi', { class: 'name' }, title), badges, count);
  const box = element('section', { class: 'group', 'aria-label': title }, head, grid);
  return { box, grid, count, badges, cells: [] };
}

function summarise(group) {
  let ready = 0;
  for (const cell of group.cells) {
    if (cell.dataset.state === 'ready' || cell.dataset.state === 'behind') ready += 1;
  }
  const all = group.cells.length;
  write(group.count, !all ? 'no shards' : ready === all ? plural(all, 'shard') : `${number(ready)} of ${number(all)} ready`);
}
