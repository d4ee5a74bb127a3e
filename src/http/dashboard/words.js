// How values are written. Whatever comes from the cluster reaches the page as text only: names are not ours to trust.

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

// A text that is the same is left alone, so that a selection, and what a screen reader is at, survive the second.
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' });

export const NONE = '–';

// A number and its unit stay on one line.
const SPACE = '\u00a0';

export const number = (n) => (Number.isFinite(n) ? whole.format(n) : NONE);
export const compact = (n) => (!Number.isFinite(n) ? NONE : n < 100_000 ? whole.format(n) : short.format(n));
export const plural = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;

export function rate(perSecond) {
  if (!Number.isFinite(perSecond)) return NONE;
  return perSecond > 0 && perSecond < 10 ? perSecond.toFixed(1) : compact(perSecond);
}

export function milliseconds(ms) {
  if (!Number.isFinite(ms)) return NONE;
  if (ms < 10) return `${Number(ms.toFixed(1))}${SPACE}ms`;
  if (ms < 1_000) return `${Math.round(ms)}${SPACE}ms`;
  if (ms < 10_000) return `${(ms / 1_000).toFixed(2)}${SPACE}s`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)}${SPACE}s`;
  return span(ms);
}

// A time span for people: its two largest units.
export function span(ms) {
  if (!Number.isFinite(ms)) return NONE;
  const seconds = Math.max(0, Math.round(ms / 1_000));
  if (seconds < 60) return of(seconds, 's');
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return of(minutes, 'min', minutes < 10 ? seconds % 60 : 0, 's');
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return of(hours, 'h', minutes % 60, 'min');
  const days = Math.floor(hours / 24);
  return of(days, 'd', hours % 24, 'h');
}

function of(large, unit, small = 0, smaller = '') {
  const rest = small ? `${SPACE}${small}${SPACE}${smaller}` : '';
  return `${large}${SPACE}${unit}${rest}`;
}

export function bytes(n) {
  if (!Number.isFinite(n)) return NONE;
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (n >= 1_024 && unit < units.length - 1) [n, unit] = [n / 1_024, unit + 1];
  return `${unit === 0 || n >= 100 ? Math.round(n) : Number(n.toFixed(1))}${SPACE}${units[unit]}`;
}

// The time of day, with the date where it is not today.
export function moment(at) {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return NONE;
  const today = date.toDateString() === new Date().toDateString();
  return today ? clock.format(date) : `${day.format(date)} ${clock.format(date)}`;
}

export function list(ids, max = 8) {
  const named = ids.slice(0, max).join(', ');
  return ids.length > max ? `${named} and ${number(ids.length - max)} more` : named;
}
