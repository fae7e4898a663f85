// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { expect, test } from 'vitest';
import { ROOT } from '../../testkit/envoy/binary.ts';

/**
 * The module's rooms stand on floors: what a file imports is in its own room or on a floor below. Rooms on the same floor
 * do not know each other.
 */
const FLOORS = [
  ['index'],
  ['streams'],
  ['roots'],
  ['http', 'tcp'],
  ['runs', 'roles'],
  ['traffic'],
  ['peers', 'own'],
  ['discovery'],
  ['metrics'],
  ['config'],
  ['wire', 'host'],
  ['memory', 'version'],
];

/** The room of a file, by its path below assembly/: a folder, or a file at the top. */
const roomOf = (file: string) => file.split('/')[0].replace(/\.ts$/, '');
const floorOf = (file: string) => FLOORS.findIndex((rooms) => rooms.includes(roomOf(file)));

/** The imports of a source that do not lead down, one line each. */
function upward(file: string, source: string): string[] {
  const targets = Array.from(source.matchAll(/\bfrom '(\.[^']+)'/g), ([, target]) =>
    normalize(join(dirname(file), target)),
  );
  return targets
    .filter((target) => roomOf(target) !== roomOf(file) && floorOf(target) <= floorOf(file))
    .map((target) => `${file} imports ${target}`);
}

const files = readdirSync(join(ROOT, 'assembly'), { recursive: true, encoding: 'utf8' }).filter((file) =>
  file.endsWith('.ts'),
);

test('every file is in a room', () => {
  expect(files.length).toBeGreaterThan(40);
  expect(files.filter((file) => floorOf(file) < 0)).toEqual([]);
});

test('imports lead down', () => {
  expect(files.flatMap((file) => upward(file, readFileSync(join(ROOT, 'assembly', file), 'utf8')))).toEqual([]);
});

test.each([
  ['wire/struct.ts', "import { get } from '../host/headers';"],
  ['memory/cache.ts', "import {\n  count,\n} from '../metrics/metrics';"],
  ['peers/peer.ts', "import { Identity } from '../own/identity';"],
  ['http.ts', "import * as roots from './roots';"],
  ['config/config.ts', "export { Peer } from '../peers/peer';"],
])('an import that does not is found: %s', (file, source) => {
  expect(upward(file, source)).toHaveLength(1);
});

test('files have no more than 400 lines', () => {
  const sizes = files.map((file) => [file, readFileSync(join(ROOT, 'assembly', file), 'utf8').split('\n').length]);
  expect(sizes.filter(([, lines]) => Number(lines) > 400)).toEqual([]);
});
