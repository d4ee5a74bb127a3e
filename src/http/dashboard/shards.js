// What is known of each shard.

import { STATES, stateOf } from './states.js';

// A rate is over the last 5 to 10 s: long enough for a quiet shard, short enough to see a failover.
const WINDOW_MS = 5_000;
// The first row may be much older than the second.
const RATE_AFTER_MS = 1_800;
// Rows that a node sends each second at most: of more shards, each has its turn.
const ROWS_A_LOOK = 2_048;
const LOOK_MS = 1_000;

// The owner of what nobody owns.
export const NOBODY = '';

export class Shards {
  constructor() {
    this.rows = [];
    this.total = null;
    this.counts = Object.fromEntries(STATES.map((state) => [state.name, 0]));
    this.changed = new Set();
    this.at = null;
  }

  // Takes a message of the stream. A total that differs ends the shards beyond it: the bot was resharded.
  take({ total, rows = [] }, at = performance.now()) {
    if (Number.isInteger(total)) {
      for (let id = total; id < this.rows.length; id += 1) this.drop(id);
      this.rows.length = Math.min(this.rows.length, total);
      this.total = total;
    }
    this.at = at;
    for (const row of rows) {
      const id = row.shard;
      if (!Number.isInteger(id) || id < 0 || (this.total !== null && id >= this.total)) continue;
      const before = this.rows[id];
      const state = stateOf(row);
      if (before) this.counts[before.state] -= 1;
      this.counts[state] += 1;
      const moved = Boolean(before) && (before.row.node ?? NOBODY) !== (row.node ?? NOBODY);
      if (!before || moved || before.state !== state) this.changed.add(id);
      const [from, mark] = samples(before, row, at);
      this.rows[id] = { row, state, at, from, mark, movedAt: moved ? at : before?.movedAt };
    }
  }

  drop(id) {
    const gone = this.rows[id];
    if (!gone) return;
    this.counts[gone.state] -= 1;
    delete this.rows[id];
    this.changed.add(id);
  }

  // Events a second; NaN where nothing is known, as for a shard whose owner was not asked.
  rate(id) {
    const { row, from, at } = this.rows[id] ?? {};
    if (!from || !row.sequence) return NaN;
    // A row that did not come has not changed, or has not had its turn.
    const turn = this.total > ROWS_A_LOOK ? Math.ceil(this.total / ROWS_A_LOOK) * LOOK_MS : 0;
    const took = Math.max(at, this.at - turn) - from.at;
    return took >= RATE_AFTER_MS ? ((row.sequence - from.sequence) * 1_000) / took : NaN;
  }

  rateOfAll() {
    let sum = NaN;
    for (let id = 0; id < this.rows.length; id += 1) {
      const rate = this.rows[id] ? this.rate(id) : NaN;
      if (!Number.isNaN(rate)) sum = (Number.isNaN(sum) ? 0 : sum) + rate;
    }
    return sum;
  }
}

// Two sequences of the past: the older one is what rates are over, the younger one takes its place in time.
function samples(before, row, at) {
  if (!row.sequence) return [null, null];
  const now = { sequence: row.sequence, at };
  const kept = before?.from && before.row.session === row.session && before.row.sequence <= row.sequence;
  if (!kept) return [now, now];
  return at - before.mark.at > WINDOW_MS ? [before.mark, now] : [before.from, before.mark];
}
