// Serves the page with a cluster that loses a node now and then: `npm run serve -- NODES SHARDS`.

import { setTimeout as sleep } from 'node:timers/promises';

import { Mock } from './mock.mjs';

const [nodes = 3, shards = 48 * nodes] = process.argv.slice(2).map(Number);
const mock = new Mock({ nodes, shards });
console.log(await mock.listen(3_100));

for (let round = 1; ; round += 1) {
  await sleep(20_000);
  const dead = 1 + (round % (nodes - 1));
  mock.kill(dead);
  await sleep(700);
  mock.takeOver(dead, Math.floor(shards / nodes / 2));
  await sleep(600);
  mock.takeOver(dead);
  await sleep(8_000);
  const node = mock.nodes[dead];
  Object.assign(node, { lost: false, version: '0.4.0', roundTripUs: 800, uptimeMs: 0 });
  mock.happen('nodeBack', { node: node.name, text: `${node.name} is back` });
  mock.shards.filter((row) => row.shard % nodes === dead).forEach((row) => mock.set(row.shard, { node: node.name }));
}
