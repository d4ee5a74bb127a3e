// The page of a real node, while another node is killed: `APOLO` names the binary.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, before, test } from 'node:test';

import { launch, skip } from './browser.mjs';

const APOLO = process.env.APOLO;
const WITHIN = 60_000;

let browser;
let dev;

before(async () => {
  if (skip || !APOLO) return;
  browser = await launch();
});
after(async () => {
  await browser?.close();
  dev?.kill('SIGKILL');
});

// The nodes that `apolo dev` has started, once every shard is connected.
function cluster() {
  dev = spawn(APOLO, ['dev', '--nodes', '3', '--shards', '12', '--guilds', '600', '--event-rate', '100'], { stdio: ['ignore', 'pipe', 'inherit'] });
  return new Promise((ready, failed) => {
    let said = '';
    dev.on('exit', (code) => failed(new Error(`apolo dev ended with ${code}: ${said}`)));
    dev.stdout.on('data', (bytes) => {
      said += bytes;
      const nodes = [...said.matchAll(/^(node-\d+) +(http:\S+) +pid (\d+)/gm)];
      if (nodes.length === 3 && said.includes('\nready ')) ready(nodes.map(([, name, url, pid]) => ({ name, url, pid: Number(pid) })));
    });
  });
}

const counts = (page) => page.$$eval('.group', (groups) => Object.fromEntries(groups.map((group) =>
  [group.getAttribute('aria-label'), group.querySelectorAll('.cell[data-state="ready"]').length])));

test('a node is killed, and its shards move without a reload', { skip: skip || (APOLO ? false : 'APOLO names no binary'), timeout: 120_000 }, async () => {
  const nodes = await cluster();
  // A node that came late may run nothing yet.
  const rows = await (await fetch(new URL('/api/v1/nodes', nodes[0].url))).json();
  const busiest = rows.reduce((one, other) => (other.shards > one.shards ? other : one));
  const killed = nodes.find((node) => node.name === busiest.name);
  const shown = nodes.find((node) => node !== killed);
  const page = await browser.newPage();
  page.setDefaultTimeout(WITHIN);
  const complaints = [];
  page.on('console', (message) => ['error', 'warn'].includes(message.type()) && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  let loads = 0;
  page.on('load', () => { loads += 1; });
  await page.goto(shown.url);
  await page.waitForFunction(() => document.querySelectorAll('.cell[data-state="ready"]').length === 12);
  const before = await counts(page);
  assert.ok(before[killed.name] > 0, JSON.stringify(before));

  process.kill(killed.pid, 'SIGKILL');

  await page.waitForFunction(() => document.querySelector('#events .took.failover b'));
  await page.waitForFunction((name) => {
    const gone = document.querySelector(`.group[aria-label="${name}"] .cell`);
    return !gone && document.querySelectorAll('.cell[data-state="ready"]').length === 12;
  }, {}, killed.name);
  const told = await page.$eval('#events', (events) => events.textContent);
  assert.match(told, new RegExp(`${killed.name} is lost`));
  assert.match(told, new RegExp(`of lost ${killed.name} run again`));

  // `dev` starts it again, and it takes its share back.
  await page.waitForFunction((name) => document.querySelectorAll(`.group[aria-label="${name}"] .cell[data-state="ready"]`).length > 0, {}, killed.name);
  assert.equal(loads, 1);
  assert.deepEqual(complaints, []);
  if (process.env.SHOT) await page.screenshot({ path: process.env.SHOT, fullPage: true });
});
