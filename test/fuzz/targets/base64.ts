// SPDX-License-Identifier: Apache-2.0
import { isUtf8 } from 'node:buffer';
import type { Random } from '../../../testkit/random.ts';
import { Codecs } from '../codecs.ts';
import { type Builds, mutated, same, sameBytes, type Target } from '../target.ts';

/**
 * Base64, both ways, and UTF-8, which guards what is not base64: an id. The oracle is Node: text is right if it is what
 * Node writes for what Node reads in it, with its padding or without.
 */
export class Base64 implements Target {
  readonly name = 'base64';
  private codecs: Codecs;

  constructor(private readonly builds: Builds) {
    this.codecs = new Codecs(builds.codecs);
  }

  renew(): void {
    this.codecs = new Codecs(this.builds.codecs);
  }

  counters() {
    return [{ of: 'codecs' as const, global: (name: string) => this.codecs.globals[name].value }];
  }

  generate(random: Random, corpus: Uint8Array[]): Uint8Array {
    const kind = random.below(10);
    if (kind === 0) return Buffer.from(random.text(40));
    if (kind === 1) return mutated(random, Buffer.from(random.text(20)), corpus);
    if (kind === 2 && corpus.length > 0) return mutated(random, random.pick(corpus), corpus);
    const size = random.oneIn(100) ? 3000 : random.oneIn(4) ? 200 : 12;
    const text = Buffer.from(random.bytes(random.below(size))).toString(random.oneIn(20) ? 'base64url' : 'base64');
    const spelled = Buffer.from(random.oneIn(2) ? text : text.replaceAll('=', ''));
    return random.oneIn(3) ? mutated(random, spelled, corpus) : spelled;
  }

  check(input: Uint8Array): boolean {
    const text = Buffer.from(input).toString('latin1');
    const decoded = Buffer.from(text, 'base64');
    const written = decoded.toString('base64');
    const expected = text === written || text === written.replaceAll('=', '') ? decoded : undefined;
    sameBytes('decoded', this.codecs.decodeBase64(input), expected);
    sameBytes('decoded in place', this.codecs.decodeBase64InPlace(input), expected);
    same('encoded', this.codecs.encodeBase64(input), Buffer.from(input).toString('base64'));
    same('UTF-8', this.codecs.isUtf8(input), isUtf8(input));
    return expected !== undefined;
  }
}
