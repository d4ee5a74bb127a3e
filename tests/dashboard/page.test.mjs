// The page in a browser, against a node that is not one: see `mock.mjs`.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';

import { launch, skip } from './browser.mjs';
import { Mock } from './mock.mjs';

let browser;
let mock;
let page;
let complaints;

before(async () => {
  if (skip) return;
  browser = await launch();
});
after(() => browser?.close());

beforeEach(() => {
  [mock, page, complaints] = [null, null, []];
});
afterEach(async () => {
  await page?.close();
  mock?.close();
});

async function open(cluster = {}, { width = 1_280, height = 900, dark = false, before = () => {} } = {}) {
  mock = new Mock({ tickMs: 200, ...cluster });
  before(mock);
  const url = await mock.listen();
  page = await browser.newPage();
  page.setDefaultTimeout(6_000);
  page.on('console', (message) => ['error', 'warn'].includes(message.type()) && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('request', (request) => request.url().startsWith(url) || complaints.push(`asked for ${request.url()}`));
  await page.setViewport({ width, height });
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }]);
  await page.evaluateOnNewDocument(() => {
    document.addEventListener('securitypolicyviolation', (event) => console.error(`CSP: ${event.violatedDirective}`));
  });
  await page.goto(url);
  await page.waitForFunction(() => document.body.dataset.link === 'live');
}

const textOf = (selector) => page.$eval(selector, (node) => node.textContent);
const settled = (selector, part) => page.waitForFunction(
  (it, wanted) => document.querySelector(it)?.textContent.includes(wanted), {}, selector, part);
async function until(holds) {
  for (const end = Date.now() + 6_000; !holds();) {
    assert.ok(Date.now() < end, `not within 6 s: ${holds}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

const focused = () => page.evaluate(() => document.activeElement.dataset.shard ?? null);

test('a healthy cluster is shown without a complaint', { skip }, async () => {
  await open();
  await settled('#verdict-title', 'Healthy');

  assert.equal(await textOf('#reasons'), 'All 144 shards are connected on 3 nodes; apolo-0 leads.');
  assert.equal((await page.$$('.cell')).length, 144);
  assert.deepEqual(await page.$$eval('.group', (groups) => groups.map((it) => it.querySelectorAll('.cell').length)), [48, 48, 48]);
  assert.equal((await page.$$('#nodes tbody tr')).length, 3);
  await page.waitForFunction(() => /^[\d,.K]+$/.test(document.getElementById('rate').textContent));
  assert.match(await page.title(), /144\/144 healthy/);
  assert.deepEqual(complaints, []);
});

test('a failover is followed from the loss to its end', { skip }, async () => {
  await open();
  await settled('#verdict-title', 'Healthy');

  mock.kill(1);
  await settled('#verdict-title', 'Degraded');
  await settled('#reasons', 'apolo-1 is lost and still owns 48 shards.');
  await settled('#reasons', '48 of 144 shards are not connected: 48 resuming.');
  mock.takeOver(1);
  await settled('#reasons', 'apolo-1 is lost.');

  assert.deepEqual(await page.$$eval('.group', (groups) => groups.map((it) => it.querySelectorAll('.cell').length)), [72, 0, 72]);
  await settled('#events .failover', 'failover');
  assert.match(await textOf('#events .took.failover'), /1\.83\ss/);
  assert.match(await textOf('#failover'), /1\.83\ss/);
  await settled('#said', 'Degraded. apolo-1 is lost');
  assert.deepEqual(complaints, []);
});

test('silence is shown, and so is its end', { skip }, async () => {
  await open();
  mock.cut();
  // A stream that ends and begins again is no news.
  await new Promise((done) => setTimeout(done, 900));
  assert.equal(await page.$eval('body', (body) => body.dataset.link), 'live');
  assert.equal(mock.asked.filter((path) => path === '/api/v1/status/stream').length, 2);
  assert.equal((await page.$$('.cell')).length, 144);

  mock.frozen = true;
  // The clock of the page goes on by itself; ten seconds of it are not waited for.
  await page.evaluate(() => {
    const real = Date.now;
    window.ahead = 6_000;
    Date.now = () => real() + window.ahead;
  });
  await settled('#link-text', 'Reconnecting');
  await page.evaluate(() => { window.ahead = 600_000; });
  await settled('#link-text', 'Stale since');
  assert.match(await textOf('#verdict-title'), /^Unknown; was healthy$/);
  assert.match(await textOf('#old'), /^The node has said nothing for 1\d\smin\. What follows is from .+ and may be wrong\.$/);
  assert.match(await page.title(), /stale/);

  mock.frozen = false;
  await settled('#link-text', 'Live');
  await settled('#verdict-title', 'Healthy');
});

test('a node that refuses the streams is asked again', { skip }, async () => {
  await open();
  mock.refuses = true;
  mock.cut();
  const refused = () => mock.asked.filter((path) => path === '/api/v1/status/stream').length;
  await until(() => refused() >= 3);
  mock.refuses = false;

  await until(() => [...mock.streams.values()].sort().join() === 'events,status');
});

test('keys lead through the map', { skip }, async () => {
  await open();
  await page.waitForSelector('.cell[tabindex="0"]');
  assert.equal((await page.$$('.cell[tabindex="0"]')).length, 1);
  await page.focus('.cell[tabindex="0"]');
  const path = [];
  for (const key of ['ArrowRight', 'ArrowLeft', 'ArrowDown', 'ArrowUp', 'End', 'ArrowRight', 'PageDown', 'Home', 'PageUp', 'PageUp']) {
    await page.keyboard.press(key);
    path.push(await focused());
  }

  const below = path[2];
  assert.ok(Number(below) > 3 && Number(below) % 3 === 0, `below 0 is ${below}`);
  assert.deepEqual(path, ['3', '0', below, '0', '141', '1', '2', '2', '1', '0']);
  assert.equal((await page.$$('.cell[tabindex="0"]')).length, 1);

  await page.keyboard.press('Enter');
  assert.equal(await page.$eval('.cell[aria-current]', (cell) => cell.dataset.shard), '0');
  assert.equal(await textOf('#details h3'), 'Shard 0');
  const outline = await page.$eval('.cell:focus', (cell) => getComputedStyle(cell).outlineStyle);
  assert.equal(outline, 'solid');
  mock.kill(0);
  mock.takeOver(0);
  await page.waitForFunction(() => document.querySelector('#details dl').textContent.includes('Ownerapolo-1'));
  assert.equal(await focused(), '0', 'a shard that moves keeps the focus');
  await page.keyboard.press('Escape');
  assert.equal(await page.$('.cell[aria-current]'), null);

  await page.type('#find-id', '77\n');
  assert.equal(await focused(), '77');
});

test('hostile names are text', { skip }, async () => {
  const evil = '<img src=x onerror="window.owned=1"><script>window.owned=1</script>\u202e{{7*7}}';
  await open({ names: (n) => `${evil}${n}` }, { before: (node) => {
    node.view.consumers.groups[0].name = evil;
    node.view.halted = { code: 4004, shard: 1, advice: evil };
    node.ready.notes.push(evil);
    node.fail('shards', evil);
    node.set(1, { note: evil, lastDisconnect: evil, epoch: evil });
    node.happen('nodeJoined', { node: evil, text: evil, shards: [1] });
  } });
  await page.waitForSelector('.cell[data-shard="1"]');
  await page.click('.cell[data-shard="1"]');
  await settled('#events', evil);

  for (const place of ['#reasons', '#notes', '#nodes', '#consumers', '#map', '#details dl', '#details .past', '#events']) {
    assert.ok((await textOf(place)).includes(evil), place);
  }
  assert.equal(await page.evaluate(() => window.owned), undefined);
  assert.equal((await page.$$('main img, main script')).length, 0);
  assert.deepEqual(complaints, []);
});

test('ids that begin anew begin another list, and a lower total drops shards', { skip }, async () => {
  await open({}, { before: (node) => {
    for (let n = 0; n < 5; n += 1) node.happen('leaderChanged', { text: `leader ${n}` });
  } });
  await settled('#events', 'leader 4');
  mock.events = [];
  mock.happen('nodeJoined', { text: 'another process' });
  await page.waitForFunction(() => document.querySelectorAll('#events li').length === 1);
  assert.match(await textOf('#events'), /another process/);

  mock.shards.length = 30;
  await page.waitForFunction(() => document.querySelectorAll('.cell').length === 30);
  assert.match(await textOf('#legend'), /^30 ready/);
});

test('nothing moves for whom motion is too much', { skip }, async () => {
  await open();
  const animation = async (wanted) => {
    await page.emulateMediaFeatures([{ name: 'prefers-reduced-motion', value: wanted }]);
    return page.$eval('.moved', (cell) => getComputedStyle(cell).animationName);
  };
  mock.kill(1);
  mock.takeOver(1);
  await page.waitForSelector('.moved');

  assert.equal(await animation('no-preference'), 'arrive');
  assert.equal(await animation('reduce'), 'none');
});

test('empty states teach', { skip }, async () => {
  await open({ nodes: 0, shards: 0 }, { before: (node) => {
    Object.assign(node.view, { waiting: 'sees 1 of 3 nodes', leader: null, identifies: null, consumers: undefined });
  } });

  await settled('#verdict-title', 'Waiting');
  await settled('#nodes-empty', '--expect');
  await settled('#map-empty', 'member of a cluster');
  await settled('#time-empty', 'Nothing has happened');
  mock.view.waiting = null;
  await settled('#map-empty', 'nobody leads');
});

test('a phone shows it all without scrolling sideways', { skip }, async () => {
  await open({ names: (n) => `node-with-a-rather-long-name-in-some-region-${n}.apolo.example` }, { width: 360, height: 740 });
  mock.kill(2);
  await settled('#verdict-title', 'Degraded');
  const sideways = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

  assert.equal(await sideways(), 0);
  await page.click('.cell[data-shard="31"]');
  await settled('#details h3', 'Shard 31');
  assert.equal(await sideways(), 0);
  const covered = await page.$eval('.cell[data-shard="31"]', (cell) =>
    cell.getBoundingClientRect().bottom > document.getElementById('details').getBoundingClientRect().top);
  assert.equal(covered, false, 'the details leave the shard in sight');
});

for (const dark of [false, true]) {
  test(`text has contrast in ${dark ? 'the dark' : 'the light'}`, { skip }, async () => {
    await open({}, { dark, before: (node) => {
      node.happen('halted', { text: 'halted' });
      node.happen('handoff', { text: 'handed off', tookMs: 12 });
      node.nodes[2].drains = true;
      node.view.halted = { code: 4004, shard: 1, advice: 'Put the token right.' };
      node.ready.notes.push('a note');
      for (const [shard, fields] of [[1, { phase: 'parked' }], [2, { phase: 'behind' }], [3, { phase: 'resuming' }], [4, { phase: 'identifying', status: 'spawning' }]]) node.set(shard, fields);
    } });
    mock.kill(1);
    await settled('#verdict-title', 'Critical');
    await page.click('.cell[data-shard="3"]');

    const poor = await page.evaluate(poorContrast);
    assert.deepEqual(poor, []);
    const marks = await page.$$eval('#legend .mark', (all) => all.map((mark) => {
      const { backgroundImage, backgroundColor, borderRadius, borderStyle } = getComputedStyle(mark);
      return [backgroundImage.replace(/rgb\([^)]*\)/g, ''), backgroundImage === 'none' && backgroundColor, borderRadius, borderStyle].join();
    }));
    assert.equal(new Set(marks).size, marks.length, 'each state has a shape of its own');
  });
}

test('two thousand shards on sixteen nodes', { skip }, async () => {
  await open({ nodes: 16, shards: 2_048, tickMs: 1_000 });
  await page.waitForFunction(() => document.querySelectorAll('.cell').length === 2_048);

  mock.kill(5);
  mock.takeOver(5);
  await settled('#reasons', 'apolo-5 is lost.');
  assert.deepEqual(complaints, []);
});

test('the rate of shards whose rows come in turns is that of their own rows', { skip }, async () => {
  await open();
  const rates = await page.evaluate(async () => {
    const { Shards } = await import('/dashboard/shards.js');
    const shards = new Shards();
    const total = 16_384;
    // 100 events a second each; a message a second has an eighth of all rows.
    for (let second = 0; second < 40; second += 1) {
      const first = (second % 8) * 2_048;
      const rows = Array.from({ length: 2_048 }, (_, nth) => (
        { shard: first + nth, status: 'ready', phase: 'connected', node: 'apolo-0', session: 1, sequence: 1 + second * 100 }));
      shards.take({ total, rows }, second * 1_000);
    }
    return { all: shards.rateOfAll(), one: shards.rate(0), last: shards.rate(total - 1) };
  });
  assert.deepEqual(rates, { all: 1_638_400, one: 100, last: 100 });
});

// Runs in the page: texts whose contrast to what is behind them is below AA.
function poorContrast() {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((it) => (it / 255 <= 0.03928 ? it / 255 / 12.92 : ((it / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] > 250) return colour;
    }
    return [255, 255, 255];
  };
  const poor = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !node.checkVisibility() || node.closest('script, noscript, .aside, .skip')) continue;
    const style = getComputedStyle(node);
    const [a, b] = [light(rgba(style.color)), light(behind(node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const large = parseFloat(style.fontSize) >= 24;
    if (ratio < (large ? 3 : 4.5)) poor.add(`${node.tagName}.${node.className} ${texts.currentNode.data.trim().slice(0, 20)}: ${ratio.toFixed(2)}`);
  }
  return [...poor];
}
