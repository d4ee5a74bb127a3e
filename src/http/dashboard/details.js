// Everything that is known of one shard.

import { PHASES, STATES } from './states.js';
import { NONE, element, milliseconds, moment, number, rate, write } from './words.js';

const FACTS = [
  ['Phase', ({ row }) => PHASES[row.phase] ?? row.phase ?? NONE],
  ['Note', ({ row }) => row.note],
  ['Owner', ({ row }) => row.node ?? 'none'],
  ['Epoch', ({ row }) => row.epoch],
  ['Session', ({ row }) => row.session],
  ['Sequence', ({ row }) => (row.sequence ? number(row.sequence) : NONE)],
  ['Checkpoint', ({ row }) => checkpoint(row)],
  ['Events a second', ({ shards, id }) => rate(shards.rate(id))],
  ['Guilds', ({ row }) => number(row.guilds)],
  ['Members', ({ row }) => number(row.members)],
  ['Latency', ({ row }) => milliseconds(row.latencyMs ?? NaN)],
  ['Connects', ({ row }) => (row.connects ? number(row.connects) : NONE)],
  ['Last disconnect', ({ row }) => row.lastDisconnect],
];

const EVENTS_MAX = 6;

function checkpoint({ checkpoint: at, sequence }) {
  if (!at) return NONE;
  const behind = sequence - at;
  return behind > 0 ? `${number(at)} (${number(behind)} behind)` : number(at);
}

export class Details {
  constructor(shards, timeline, onClose) {
    this.shards = shards;
    this.timeline = timeline;
    this.box = document.getElementById('details');
    this.title = element('h3', {});
    this.state = element('p', { class: 'state' });
    const close = element('button', { type: 'button', class: 'close', 'aria-label': 'Let the shard go' }, '×');
    close.addEventListener('click', onClose);
    this.values = FACTS.map(([name]) => {
      const value = element('dd', {});
      return { name: element('dt', {}, name), value };
    });
    const table = element('dl', {}, ...this.values.flatMap(({ name, value }) => [name, value]));
    this.past = element('ol', { class: 'past' });
    this.pastTitle = element('h4', {}, 'What happened to it');
    this.full = element('div', { class: 'full', hidden: '' },
      element('div', { class: 'head' }, this.title, close), this.state, table, this.pastTitle, this.past);
    this.hint = element('p', { class: 'hint' }, 'Point at a shard, or choose one, to see its session, its checkpoint and how it fares.');
    this.box.append(this.hint, this.full);
  }

  show(id) {
    this.id = id;
    this.render();
  }

  render() {
    const known = this.shards.rows[this.id];
    this.full.hidden = !known;
    this.hint.hidden = Boolean(known);
    this.box.classList.toggle('open', Boolean(known));
    if (!known) return;
    const { row, state } = known;
    write(this.title, `Shard ${this.id}`);
    if (this.state.dataset.state !== state) {
      this.state.dataset.state = state;
      const { label, hint } = STATES.find((it) => it.name === state);
      this.state.replaceChildren(element('i', { class: 'mark', 'data-state': state, 'aria-hidden': 'true' }), element('b', {}, label), ` – ${hint}`);
    }
    FACTS.forEach(([, read], at) => {
      const text = read({ row, shards: this.shards, id: this.id });
      const { name, value } = this.values[at];
      name.hidden = value.hidden = text === undefined || text === null || text === '';
      if (!value.hidden) write(value, String(text));
    });
    this.renderPast();
  }

  renderPast() {
    const events = this.timeline.of(this.id, EVENTS_MAX);
    const key = `${this.id}:${events.map((event) => event.id).join()}`;
    if (key === this.key) return;
    this.key = key;
    this.pastTitle.hidden = !events.length;
    this.past.replaceChildren(...events.map((event) => element('li', {}, element('time', {}, moment(event.atMs)), element('span', {}, event.text))));
  }
}
