// What a shard's status and phase come to. Each state has a colour and a shape of its own in the style sheet.

export const STATES = [
  { name: 'ready', label: 'ready', hint: 'events flow' },
  { name: 'behind', label: 'behind', hint: 'connected; its handlers must catch up first' },
  { name: 'resuming', label: 'resuming', hint: 'lost its connection and gets it back' },
  { name: 'starting', label: 'starting', hint: 'not connected yet' },
  { name: 'down', label: 'down', hint: 'dead, parked or halted' },
  { name: 'unassigned', label: 'unassigned', hint: 'no node owns it' },
];

export const PHASES = {
  unassigned: 'unassigned',
  elsewhere: 'known to its owner alone',
  backingOff: 'backing off',
  connecting: 'connecting',
  waitingForPermit: 'waiting for leave to identify',
  identifying: 'identifying',
  resuming: 'resuming',
  connected: 'connected',
  behind: 'behind',
  parked: 'parked',
  halted: 'halted',
};

export function stateOf({ status, phase, node }) {
  if (phase === 'halted' || phase === 'parked' || status === 'dead') return 'down';
  if (phase === 'behind') return 'behind';
  if (phase === 'resuming') return 'resuming';
  if (phase === 'connected') return 'ready';
  if (phase === 'unassigned' || !node) return 'unassigned';
  if (status === 'disconnected') return 'resuming';
  // A connection that is being made is not there, whatever its owner reported last.
  if (status === 'ready') return phase === 'elsewhere' || !phase ? 'ready' : 'resuming';
  return 'starting';
}
