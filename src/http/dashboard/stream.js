// A stream of server-sent events that comes back whatever ends it, and says how old its last word is.

// The server speaks every second, and ends a stream now and then: the browser is back before this is over.
const QUIET_MAX_MS = 4_500;
// Old data that looks fresh is worse than none.
const STALE_AFTER_MS = 10_000;
const RETRY_MS = [500, 1_000, 2_000, 4_000, 5_000];

export class Stream {
  // `handlers`: by kind of event, called with its data and its id. `opened`: a source of our own making, not one that
  // the browser reconnected, has begun; what it sends does not continue what came before.
  constructor(url, handlers, { opened = () => {}, watch = false } = {}) {
    Object.assign(this, { url, handlers, opened, watch, tries: 0, lastAt: null });
    this.open();
  }

  open() {
    clearTimeout(this.timer);
    this.source?.close();
    this.closed = false;
    this.openedAt = Date.now();
    const source = new EventSource(this.url);
    this.source = source;
    let first = true;
    source.onopen = () => {
      if (first) this.opened();
      first = false;
    };
    // The browser retries a broken connection; an answer other than 200 it takes for the last word.
    source.onerror = () => {
      if (source === this.source && source.readyState === EventSource.CLOSED) this.retry();
    };
    for (const [kind, handle] of Object.entries(this.handlers)) {
      source.addEventListener(kind, (event) => {
        if (source !== this.source) return;
        let data;
        try {
          data = JSON.parse(event.data);
        } catch {
          return;
        }
        this.lastAt = Date.now();
        this.tries = 0;
        handle(data, event.lastEventId);
      });
    }
  }

  retry() {
    clearTimeout(this.timer);
    const pause = RETRY_MS[Math.min(this.tries++, RETRY_MS.length - 1)];
    this.timer = setTimeout(() => !this.closed && this.open(), pause);
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.source.close();
  }

  // `opening`, `live`, `reconnecting` or `stale`.
  state(now = Date.now()) {
    const quiet = now - (this.lastAt ?? this.openedAt);
    // A connection whose other end is gone stays open and silent for many minutes.
    if (this.watch && quiet > STALE_AFTER_MS && now - this.openedAt > STALE_AFTER_MS && !this.closed) this.open();
    if (this.lastAt === null) return quiet > STALE_AFTER_MS || this.tries > 1 ? 'stale' : 'opening';
    if (quiet > STALE_AFTER_MS) return 'stale';
    return quiet > QUIET_MAX_MS ? 'reconnecting' : 'live';
  }
}
