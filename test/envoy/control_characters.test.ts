// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { NOBODY } from '../../testkit/access_log.ts';
import { testedVersions } from '../../testkit/envoy/binary.ts';
import { ID, METADATA } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';
import { ProxyStand } from '../support/proxy_stand.ts';

/**
 * Some readers end a string at NUL, and CR and LF break what is made of a string. So nobody gets them: a peer whose keys or
 * strings have a control character is refused, in the module and in the bridge, and our own are left out.
 */

const TYPE = 'type.googleapis.com';
const DOWNSTREAM = 'envoy.wasm.metadata_exchange.downstream';
const TESTED = testedVersions().map((version) => [version ?? process.env.ENVOY, version] as const);

/** Lets in who says that its namespace is prod, by dynamic metadata and by filter state. */
const rbac = (principal: object) => ({
  name: 'envoy.filters.http.rbac',
  typed_config: {
    '@type': `${TYPE}/envoy.extensions.filters.http.rbac.v3.RBAC`,
    rules: { policies: { prod: { permissions: [{ any: true }], principals: [principal] } } },
  },
});
const IN_PROD = rbac({
  sourced_metadata: {
    metadata_matcher: {
      filter: DOWNSTREAM,
      path: [{ key: 'NAMESPACE' }],
      value: { string_match: { exact: 'prod' } },
    },
  },
});

const HOSTILE: [string, object][] = [
  ['a key that ends like another one', { NAMESPACE: 'default', 'NAMESPACE\0': 'prod' }],
  ['the same in another order', { 'NAMESPACE\0x': 'prod', NAMESPACE: 'default' }],
  ['a value that ends like another one', { NAMESPACE: 'prod\0uction' }],
  ['a key deep inside', { NAMESPACE: 'prod', LABELS: { 'a\0': 'b' } }],
  ['a line break', { NAMESPACE: 'prod', NAME: 'a\r\nx-evil: 1' }],
  ['a tab', { NAMESPACE: 'prod', NAME: 'a\tb' }],
  ['DEL', { NAMESPACE: 'prod', NAME: 'a\x7fb' }],
];

describe.each(TESTED)('control characters, Envoy %s', (_, version) => {
  test('of a peer are refused, counted, and reach no policy, no log and no header', async () => {
    const name = { header: { key: 'x-you-are', value: `%CEL(filter_state['wasm.${DOWNSTREAM}'].NAME)%` } };
    await using stand = await ProxyStand.start({
      direction: 'INBOUND',
      version,
      workers: 2,
      config: { verify_peer: { mode: 'enforce' } },
      after: [IN_PROD],
      routes: [{ match: { prefix: '/' }, route: { cluster: 'app' }, response_headers_to_add: [name] }],
    });
    for (const [what, says] of HOSTILE) {
      const { answer, learned } = await stand.exchange({ headers: [METADATA, struct.header(says)] });
      expect(answer.status, what).toBe(403);
      expect(answer.headers.all('x-evil'), what).toEqual([]);
      expect(learned.downstream, what).toEqual(NOBODY);
    }
    const id = await stand.exchange({ headers: [ID, 'a\tb'] });
    expect(id.learned.downstream).toEqual(NOBODY);
    const known = await stand.exchange({ headers: [METADATA, struct.header({ NAMESPACE: 'prod', NAME: 'é 世界' })] });
    expect([known.answer.status, known.learned.downstream.struct]).toEqual([
      200,
      { NAMESPACE: 'prod', NAME: 'é 世界' },
    ]);
    const count = (metric: string) => stand.envoy.stat(`wasmcustom.metadata_exchange.${metric}`);
    await stand.envoy.until('they are counted', async () => (await count('refused_control')) === HOSTILE.length);
    await stand.envoy.until('the id is counted', async () => (await count('refused_id')) === 1);
  });

  test('of our own are left out, with a warning', async () => {
    const metadata = { NAME: 'own', 'a\0b': 'x', NOTE: 'two\nlines', LABELS: { app: 'a', text: '\x1b[31m' } };
    await using stand = await ProxyStand.start({ direction: 'OUTBOUND', version, workers: 2, metadata });
    const { seen } = await stand.exchange();
    const [sent] = seen?.headers.all(METADATA) ?? [];
    expect(struct.read(Buffer.from(sent, 'base64'))).toEqual({ LABELS: { app: 'a' }, NAME: 'own' });
    expect(stand.envoy.log()).toContain('values of the own metadata that no peer would take are not sent');
  });
});
