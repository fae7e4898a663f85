// SPDX-License-Identifier: Apache-2.0

/**
 * Who can use what the exchange learned. docs/consume.md shows this as a table. Each row has a test of its own under
 * test/envoy/consumers, which runs the folder's configuration on the oldest and the newest Envoy.
 */

const DOWNSTREAM = 'envoy.wasm.metadata_exchange.downstream';
const UPSTREAM = 'envoy.wasm.metadata_exchange.upstream';

/** Where a filter stands that uses the peer. */
const PLACES = {
  anywhere: 'anywhere',
  'after, for requests': 'after the exchange',
  'before, for responses': 'before the exchange',
  'after the bridge': 'after the exchange and its bridge',
  'before the bridge': 'before the exchange and its bridge',
  'in the route': 'in the route',
} as const;

export interface Consumer {
  /** What its test calls it by. */
  id: string;
  consumer: string;
  /** The folder that shows it, seen from envoy/consumers. */
  folder: string;
  /** Which side is the peer. */
  peer: 'client' | 'server' | 'both';
  from: 'dynamic metadata' | 'filter state' | 'both';
  /** What to write: text of the folder's envoy.yaml, or of its reader.ts. For `both` the client's. */
  write: string[];
  place: (typeof PLACES)[keyof typeof PLACES];
  /** The oldest Envoy that takes it, of those that we run: the oldest of all unless told. */
  since?: '1.37';
  caveat?: string;
}

export const CONSUMERS: Consumer[] = [
  {
    id: 'log-text',
    consumer: 'access log, text',
    folder: 'access-log',
    peer: 'both',
    from: 'both',
    write: [`%DYNAMIC_METADATA(${DOWNSTREAM}:WORKLOAD_NAME)%`, `%CEL(filter_state['wasm.${DOWNSTREAM}'].NAMESPACE)%`],
    place: PLACES.anywhere,
    caveat: 'Unknown is `-`.',
  },
  {
    id: 'log-json',
    consumer: 'access log, JSON',
    folder: 'access-log',
    peer: 'both',
    from: 'both',
    write: [
      `%DYNAMIC_METADATA(${DOWNSTREAM}:LABELS)%`,
      `%FILTER_STATE(wasm.${DOWNSTREAM}:TYPED)%`,
      `%FILTER_STATE(wasm.${DOWNSTREAM}_id:PLAIN)%`,
    ],
    place: PLACES.anywhere,
    caveat: 'Unknown is `null`. `TYPED` puts the Struct under `value`, beside its `@type`.',
  },
  {
    id: 'log-opentelemetry',
    consumer: 'access log, OpenTelemetry',
    folder: 'access-log',
    peer: 'both',
    from: 'both',
    write: [
      `string_value: "%DYNAMIC_METADATA(${DOWNSTREAM}:NAMESPACE)%"`,
      `string_value: "%CEL(filter_state['wasm.${DOWNSTREAM}'].LABELS.app)%"`,
    ],
    place: PLACES.anywhere,
    caveat: 'Unknown is `-`.',
  },
  {
    id: 'log-grpc',
    consumer: 'access log, gRPC (ALS)',
    folder: 'access-log',
    peer: 'both',
    from: 'both',
    write: [`filter_state_objects_to_log: [wasm.${DOWNSTREAM}]`],
    place: PLACES.anywhere,
    caveat: 'All dynamic metadata is sent with each entry. Filter state comes as the bytes of the Struct in an Any.',
  },
  {
    id: 'metrics-module',
    consumer: 'metrics, by this filter',
    folder: 'metrics',
    peer: 'both',
    from: 'filter state',
    write: ['"metrics":{}'],
    place: PLACES.anywhere,
    caveat: "Istio's names and labels, bounded. Unknown is `unknown`. See [metrics](metrics.md).",
  },
  {
    id: 'metrics',
    consumer: 'metrics, by the stats logger',
    folder: 'metrics',
    peer: 'both',
    from: 'filter state',
    write: [`value_format: "%FILTER_STATE(wasm.${DOWNSTREAM}.WORKLOAD_NAME:PLAIN)%"`],
    place: PLACES.anywhere,
    since: '1.37',
    caveat: 'Envoy calls this logger work in progress. Unknown is empty. Every new value is a new metric: see below.',
  },
  {
    id: 'log-filter-metadata',
    consumer: 'access log filter',
    folder: 'lua-cel-wasm',
    peer: 'client',
    from: 'dynamic metadata',
    write: ['metadata_filter:', 'match_if_key_not_found: false'],
    place: PLACES.anywhere,
    caveat: 'Without `match_if_key_not_found: false` requests of unknown peers are logged too.',
  },
  {
    id: 'log-filter-expression',
    consumer: 'access log filter, CEL',
    folder: 'lua-cel-wasm',
    peer: 'client',
    from: 'filter state',
    write: [`expression: filter_state['wasm.${DOWNSTREAM}'].LABELS.app == 'productpage'`],
    place: PLACES.anywhere,
  },
  {
    id: 'rbac-namespace',
    consumer: 'RBAC, by namespace',
    folder: 'rbac',
    peer: 'client',
    from: 'dynamic metadata',
    write: ['sourced_metadata:', `filter: ${DOWNSTREAM}`, 'path: [{ key: NAMESPACE }]'],
    place: PLACES['after the bridge'],
    caveat: 'A claim: check the certificate first.',
  },
  {
    id: 'rbac-app',
    consumer: 'RBAC, by app',
    folder: 'rbac',
    peer: 'client',
    from: 'dynamic metadata',
    write: ['path: [{ key: LABELS }, { key: app }]'],
    place: PLACES['after the bridge'],
    caveat: 'A claim: check the certificate first.',
  },
  {
    id: 'rbac-id',
    consumer: 'RBAC, by id',
    folder: 'rbac',
    peer: 'client',
    from: 'filter state',
    write: [`filter_state: { key: wasm.${DOWNSTREAM}_id, string_match: { exact: example-node } }`],
    place: PLACES['after, for requests'],
    caveat: 'A claim: check the certificate first. Only the id can be matched so: of a Struct this matcher sees bytes.',
  },
  {
    id: 'rbac-condition',
    consumer: 'RBAC, by an expression',
    folder: 'rbac',
    peer: 'client',
    from: 'filter state',
    write: ['condition:', `const_expr: { string_value: wasm.${DOWNSTREAM} }`],
    place: PLACES['after, for requests'],
    caveat: 'A claim: check the certificate first. Envoy takes only the parsed expression, not its text.',
  },
  {
    id: 'rbac-verdict',
    consumer: 'RBAC, by the verdict',
    folder: '../verify-peer',
    peer: 'client',
    from: 'both',
    write: [`key: wasm.${DOWNSTREAM}_verified`, 'string_match: { exact: verified }', 'path: [{ key: NAMESPACE }]'],
    place: PLACES['after the bridge'],
    caveat: 'The one safe rule: a claim that the certificate proves. Needs `verify_peer`, and mTLS.',
  },
  {
    id: 'rbac-shadow',
    consumer: 'RBAC, shadow rules',
    folder: 'rbac',
    peer: 'client',
    from: 'dynamic metadata',
    write: ['shadow_rules:', '%DYNAMIC_METADATA(envoy.filters.http.rbac:peer_shadow_engine_result)%'],
    place: PLACES['after the bridge'],
  },
  {
    id: 'cel-matcher',
    consumer: 'CEL matcher, in RBAC',
    folder: 'lua-cel-wasm',
    peer: 'client',
    from: 'filter state',
    write: ['HttpAttributesCelMatchInput', 'xds.type.matcher.v3.CelMatcher'],
    place: PLACES['after, for requests'],
    caveat: 'Only the parsed expression. It does not match if the peer is unknown. Route tables refuse this input.',
  },
  {
    id: 'rate-limit-app',
    consumer: 'rate limit descriptor',
    folder: 'rate-limit',
    peer: 'client',
    from: 'dynamic metadata',
    write: ['source: DYNAMIC', `metadata_key: { key: ${DOWNSTREAM}, path: [{ key: LABELS }, { key: app }] }`],
    place: PLACES['after the bridge'],
    caveat: 'A peer without this field makes no descriptor: the default bucket must take it.',
  },
  {
    id: 'rate-limit-expression',
    consumer: 'rate limit descriptor, CEL',
    folder: 'rate-limit',
    peer: 'client',
    from: 'filter state',
    write: [`text: filter_state['wasm.${DOWNSTREAM}'].NAMESPACE`],
    place: PLACES['after, for requests'],
    caveat: 'A peer without this field makes no descriptor: the default bucket must take it.',
  },
  {
    id: 'authz-grpc',
    consumer: 'ext_authz, gRPC',
    folder: 'ext-authz',
    peer: 'client',
    from: 'dynamic metadata',
    write: [`metadata_context_namespaces: [${DOWNSTREAM}]`],
    place: PLACES['after the bridge'],
    caveat: 'The authorisation server gets the whole Struct, or nothing if the peer is unknown.',
  },
  {
    id: 'authz-http',
    consumer: 'ext_authz, HTTP',
    folder: 'ext-authz',
    peer: 'client',
    from: 'dynamic metadata',
    write: [
      `header: { key: x-caller-namespace, value: "%DYNAMIC_METADATA(${DOWNSTREAM}:NAMESPACE)%" }`,
      'allowed_headers: { patterns: [{ exact: x-caller-namespace }] }',
    ],
    place: PLACES['after the bridge'],
    caveat: 'A header mutation filter before it makes the header, and removes what the client sent under its name.',
  },
  {
    id: 'ext-proc-request',
    consumer: 'ext_proc, request attributes',
    folder: 'ext-proc',
    peer: 'client',
    from: 'filter state',
    write: ['request_attributes:', `filter_state['wasm.${DOWNSTREAM}'].WORKLOAD_NAME`],
    place: PLACES['after, for requests'],
    caveat: 'The attribute’s name is the text of the expression.',
  },
  {
    id: 'ext-proc-response',
    consumer: 'ext_proc, response attributes',
    folder: 'ext-proc',
    peer: 'server',
    from: 'filter state',
    write: ['response_attributes:', `filter_state['wasm.${UPSTREAM}'].WORKLOAD_NAME`],
    place: PLACES['before, for responses'],
    caveat: 'The attribute’s name is the text of the expression.',
  },
  {
    id: 'ext-proc-metadata',
    consumer: 'ext_proc, metadata',
    folder: 'ext-proc',
    peer: 'both',
    from: 'dynamic metadata',
    write: [`metadata_options: { forwarding_namespaces: { untyped: [${DOWNSTREAM}] } }`],
    place: PLACES['after the bridge'],
    caveat: 'For responses: before the exchange and its bridge.',
  },
  {
    id: 'trace-metadata',
    consumer: 'tracing tag',
    folder: 'tracing',
    peer: 'both',
    from: 'dynamic metadata',
    write: ['tag: service.peer.namespace', `metadata_key: { key: ${DOWNSTREAM}, path: [{ key: NAMESPACE }] }`],
    place: PLACES.anywhere,
    caveat: 'Unknown is `default_value`; without one there is no tag.',
  },
  {
    id: 'trace-value',
    consumer: 'tracing tag, formatted',
    folder: 'tracing',
    peer: 'both',
    from: 'filter state',
    write: ['tag: peer.service', `value: "%CEL(filter_state['wasm.${DOWNSTREAM}'].LABELS.app)%"`],
    place: PLACES.anywhere,
    since: '1.37',
    caveat: 'Unknown: no tag.',
  },
  {
    id: 'request-header-route',
    consumer: 'request header, by the route',
    folder: 'headers-and-routes',
    peer: 'client',
    from: 'filter state',
    write: [
      'request_headers_to_remove: [x-called-by-app]',
      `header: { key: x-called-by-app, value: "%CEL(filter_state['wasm.${DOWNSTREAM}'].LABELS.app)%" }`,
    ],
    place: PLACES['in the route'],
    caveat: 'Remove the client’s own header first: where the peer is unknown it would stay.',
  },
  {
    id: 'request-header-filter',
    consumer: 'request header, by header mutation',
    folder: 'headers-and-routes',
    peer: 'client',
    from: 'dynamic metadata',
    write: [
      '- remove: x-called-by',
      `header: { key: x-called-by, value: "%DYNAMIC_METADATA(${DOWNSTREAM}:WORKLOAD_NAME)%" }`,
    ],
    place: PLACES['after the bridge'],
    caveat: 'Remove the client’s own header first: where the peer is unknown it would stay.',
  },
  {
    id: 'request-header-told',
    consumer: 'request header, by this filter',
    folder: '../caller-name',
    peer: 'client',
    from: 'filter state',
    write: ['"tell_application": {'],
    place: PLACES['after, for requests'],
    caveat: 'Removes the client’s own copies, and encodes what a peer may have written: see below.',
  },
  {
    id: 'response-header-route',
    consumer: 'response header, by the route',
    folder: 'headers-and-routes',
    peer: 'client',
    from: 'dynamic metadata',
    write: [`header: { key: x-you-are, value: "%DYNAMIC_METADATA(${DOWNSTREAM}:WORKLOAD_NAME)%" }`],
    place: PLACES['in the route'],
    caveat: 'Not for the server as peer: the router adds these before filters see the response.',
  },
  {
    id: 'response-header-filter',
    consumer: 'response header, by header mutation',
    folder: 'headers-and-routes',
    peer: 'server',
    from: 'both',
    write: [
      `header: { key: x-answered-by, value: "%DYNAMIC_METADATA(${UPSTREAM}:WORKLOAD_NAME)%" }`,
      `header: { key: x-answered-by-version, value: "%CEL(filter_state['wasm.${UPSTREAM}'].LABELS.version)%" }`,
    ],
    place: PLACES['before the bridge'],
    caveat: 'From filter state, before the exchange is enough.',
  },
  {
    id: 'route-filter-state',
    consumer: 'route, by filter state',
    folder: 'headers-and-routes',
    peer: 'client',
    from: 'filter state',
    write: [`filter_state: [{ key: wasm.${DOWNSTREAM}_id, string_match: { prefix: example- } }]`],
    place: PLACES['in the route'],
    caveat: 'By the id only. The exchange removes headers, so Envoy chooses the route again after it.',
  },
  {
    id: 'route-metadata',
    consumer: 'route, by dynamic metadata',
    folder: 'headers-and-routes',
    peer: 'client',
    from: 'dynamic metadata',
    write: ['dynamic_metadata:', 'handle:clearRouteCache()'],
    place: PLACES['in the route'],
    caveat:
      'Needs a filter after the bridge that clears the route cache, because a Lua filter chooses its route before it runs.',
  },
  {
    id: 'lua-request',
    consumer: 'Lua, request',
    folder: 'lua-cel-wasm',
    peer: 'client',
    from: 'both',
    write: [`info:dynamicMetadata():get("${DOWNSTREAM}")`, `info:filterState():get("wasm.${DOWNSTREAM}_id")`],
    place: PLACES['after the bridge'],
    caveat: 'Unknown is `nil`. Filter state gives the bytes of the Struct.',
  },
  {
    id: 'lua-response',
    consumer: 'Lua, response',
    folder: 'lua-cel-wasm',
    peer: 'server',
    from: 'both',
    write: [`info:dynamicMetadata():get("${UPSTREAM}")`, `info:filterState():get("wasm.${UPSTREAM}_id")`],
    place: PLACES['before the bridge'],
    caveat: 'Unknown is `nil`. Filter state gives the bytes of the Struct.',
  },
  {
    id: 'wasm-request',
    consumer: 'another Wasm filter, request',
    folder: 'lua-cel-wasm',
    peer: 'client',
    from: 'filter state',
    write: [`'${DOWNSTREAM}_id'`, `'filter_state\\0wasm.${DOWNSTREAM}\\0LABELS\\0app'`],
    place: PLACES['after, for requests'],
    caveat: 'A path of `proxy_get_property`. Unknown is NotFound.',
  },
  {
    id: 'wasm-response',
    consumer: 'another Wasm filter, response',
    folder: 'lua-cel-wasm',
    peer: 'server',
    from: 'filter state',
    write: [`'${UPSTREAM}_id'`, `'filter_state\\0wasm.${UPSTREAM}\\0LABELS\\0app'`],
    place: PLACES['before, for responses'],
    caveat: 'A path of `proxy_get_property`. Unknown is NotFound.',
  },
];

/** The oldest Envoy of those that we run. */
export const OLDEST = '1.36';

/** A row by its id. */
export function consumer(id: string): Consumer {
  const found = CONSUMERS.find((each) => each.id === id);
  if (!found) throw new Error(`tools/consumers.ts has no ${id}`);
  return found;
}
