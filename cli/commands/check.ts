// SPDX-License-Identifier: Apache-2.0
import { defineCommand } from 'citty';
import { Host } from '../../testkit/host/host.ts';
import { NODE, node } from '../../testkit/host/node.ts';
import { configurationsIn, type Found } from '../plugin/find.ts';
import { visible } from '../visible.ts';
import { DONE, needModule, paint, print, REFUSED, readInput, warn } from './common.ts';

/** `metadata-exchange check`: what the module says to a configuration. */
export const check = defineCommand({
  meta: { name: 'check', description: 'Whether the module takes a plugin configuration, in the module’s own words' },
  args: {
    file: {
      type: 'positional',
      required: true,
      description:
        'the configuration as JSON or YAML; or a file of Envoy’s, a WasmPlugin or an EnvoyFilter that has it',
    },
  },
  run({ args }) {
    needModule();
    const source = readInput(args.file);
    let found: Found[];
    try {
      found = configurationsIn(source);
    } catch (error) {
      warn(`${visible(args.file)}: ${visible((error as Error).message)}`);
      return REFUSED;
    }
    const verdicts = found.map((each) => {
      const verdict = verdictOn(each);
      print(...linesOf(args.file, each, verdict));
      return verdict;
    });
    return verdicts.every(({ isTaken }) => isTaken) ? DONE : REFUSED;
  },
});

function linesOf(file: string, { what, line }: Found, { isTaken, complaints, shown }: Verdict): string[] {
  const place = visible(line === undefined ? file : `${file}:${line}`);
  const verdict = isTaken ? paint('green', 'taken') : paint('red', 'refused');
  return [
    `${place}: ${visible(what)}: ${verdict}`,
    ...[...complaints.map(visible), ...shown].map((each) => `  ${each}`),
  ];
}

/** What the built module says to a plugin configuration: it is run, so these are its own words. */
export interface Verdict {
  isTaken: boolean;
  /** What it logged: why it refuses, or what it warns of. */
  complaints: string[];
  /** Where in the configuration, for the eye; empty if that is nowhere. */
  shown: string[];
  /** The size of the metadata header that it would send. */
  headerBytes: number;
}

const MOST_COLUMNS = 100;

/** Gives a configuration to the module. */
export function verdictOn({ bytes, text, node: runner }: Found): Verdict {
  const host = new Host({ 'xds.node': runner ? node(runner) : NODE });
  const root = host.configure(bytes);
  const complaints = host.complaints();
  // It writes its metrics at a tick.
  if (root !== undefined) host.tick(root);
  const at = complaints.map((line) => /refused at byte (\d+):/.exec(line)?.[1]).find((byte) => byte !== undefined);
  return {
    isTaken: root !== undefined,
    complaints,
    shown: text && at !== undefined ? pointedAt(text, Number(at)) : [],
    headerBytes: host.metrics['metadata_exchange.own_header_bytes'] ?? 0,
  };
}

/** The line of a text that has this byte, and a mark below it. */
export function pointedAt(text: string, byte: number): string[] {
  const before = Buffer.from(text).subarray(0, byte).toString('utf8');
  const lineStart = before.lastIndexOf('\n') + 1;
  const column = before.length - lineStart;
  const line = text.slice(lineStart).split('\n', 1)[0].replace(/\r$/, '');
  const from = Math.max(0, column - MOST_COLUMNS * 0.6);
  const lead = from > 0 ? '…' : '';
  const rest = line.length > from + MOST_COLUMNS ? '…' : '';
  const shown = visible(line.slice(from, from + MOST_COLUMNS));
  const mark = ' '.repeat(lead.length + visible(line.slice(from, column)).length);
  return [lead + shown + rest, `${mark}^`];
}
