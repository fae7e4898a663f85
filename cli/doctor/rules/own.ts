// SPDX-License-Identifier: Apache-2.0
import type { Exchange } from '../exchange.ts';
import { exchangesOf, type ProxyModel } from '../model.ts';
import { error, type Finding, note, places, type Rule, warning } from '../rule.ts';
import { moduleStat, times } from '../stats.ts';
import { verdictsOn } from '../verdicts.ts';

/** What the module thinks of its configuration, and of the metadata that this proxy tells. */

const NOTHING = /^the node has no .*only its id is sent$|has neither id nor cluster/;
const CUT = /^the own (metadata|baggage) takes|^there is no memory for the own|^the id of the node is not sent/;
const SECRETS = /^every peer that asks is told fields/;
const TODO_SECRETS = 'Choose what is told with metadata_fields, if that is not what you want.';

/** Findings about complaints that match, one for each text, with all the filters that it is about. */
function complaining(
  proxy: ProxyModel,
  matches: (line: string) => boolean,
  find: (where: string, line: string) => Finding,
) {
  const byLine = new Map<string, Exchange[]>();
  for (const { exchange, isTaken, complaints } of verdictsOn(proxy)) {
    for (const line of complaints) {
      if (!isTaken || !matches(line) || (!tells(exchange) && isAboutTelling(line))) continue;
      byLine.set(line, [...(byLine.get(line) ?? []), exchange]);
    }
  }
  return Array.from(byLine, ([line, exchanges]) => find(places(exchanges), line));
}

const tells = ({ lists }: Exchange) => lists.upstream_propagation.length + lists.downstream_propagation.length > 0;

/** Who tells nobody need not have anything to tell. */
const isAboutTelling = (line: string) => NOTHING.test(line) || CUT.test(line) || SECRETS.test(line);

export const configurationRefused: Rule = {
  id: 'configuration-refused',
  check(proxy) {
    return verdictsOn(proxy).flatMap(({ exchange, isTaken, complaints }) => {
      if (isTaken) return [];
      const what = `The module refuses its configuration: ${complaints.join('; ').replace(/^configuration refused /, '')}`;
      const todo =
        '`metadata-exchange check FILE` shows the place. Until then Envoy refuses the listener, or keeps the one that it has.';
      return [error(exchange.where, what, todo)];
    });
  },
};

export const noOwnMetadata: Rule = {
  id: 'no-own-metadata',
  check(proxy) {
    const isWithNode = proxy.node !== undefined;
    const findings = !isWithNode
      ? []
      : complaining(
          proxy,
          (line) => NOTHING.test(line),
          (where, line) =>
            warning(
              where,
              `Peers cannot learn who this proxy stands for: ${line}.`,
              "Set `istio.io/metadata` in the node's metadata, or name the field that has it in metadata_key.",
            ),
        );
    if (findings.length > 0 || moduleStat(proxy, 'headers_sent') === 0) return findings;
    if (moduleStat(proxy, 'configurations') === 0 || moduleStat(proxy, 'own_header_bytes') > 0) return findings;
    if (moduleStat(proxy, 'own_fields_left_out') > 0) return findings;
    if (exchangesOf(proxy).some(({ lists }) => usesOnlyBaggage(lists.upstream_propagation))) return findings;
    const what = 'The proxy tells its peers its id alone: its node has no metadata.';
    return [warning('', what, "Set `istio.io/metadata` in the node's metadata, or metadata_key.")];
  },
};

const usesOnlyBaggage = (methods: { name: string }[]) =>
  methods.length > 0 && methods.every(({ name }) => name === 'baggage');

export const ownMetadataCut: Rule = {
  id: 'own-metadata-cut',
  check(proxy) {
    const todo =
      'Choose what is needed with metadata_fields, or make max_header_size larger, here and on the other side.';
    const findings = complaining(
      proxy,
      (line) => CUT.test(line),
      (where, line) => warning(where, `Not all of the own metadata is told: ${line}.`, todo),
    );
    const count = moduleStat(proxy, 'own_fields_left_out');
    if (findings.length > 0 || count === 0) return findings;
    const what = `Not all of the own metadata is told: ${times(count, 'field')} did not fit into the header, over all VMs.`;
    return [warning('', what, `Envoy's log names them, at level warning. ${todo}`)];
  },
};

/** What peers take of a header unless their `max_header_size` says another number. */
const USUAL_BYTES = 8192;

export const ownHeaderLarge: Rule = {
  id: 'own-header-large',
  check(proxy) {
    const large = verdictsOn(proxy).filter(({ exchange, headerBytes }) => headerBytes > USUAL_BYTES && tells(exchange));
    const counted = moduleStat(proxy, 'own_header_bytes') / moduleStat(proxy, 'configurations');
    const bytes = Math.max(...large.map(({ headerBytes }) => headerBytes), Math.floor(counted) || 0);
    if (bytes <= USUAL_BYTES) return [];
    const what = `The own metadata header has ${bytes} bytes, and peers refuse more than their max_header_size, ${USUAL_BYTES} unless set.`;
    const todo =
      'Choose what is needed with metadata_fields, or raise max_header_size of all peers. Servers may refuse such requests with 431.';
    return [warning(places(large.map(({ exchange }) => exchange)), what, todo)];
  },
};

export const tellsSecrets: Rule = {
  id: 'tells-secrets',
  check: (proxy) =>
    complaining(
      proxy,
      (line) => SECRETS.test(line),
      (where, line) =>
        note(where, `${line[0].toUpperCase()}${line.slice(1).replace(/\. Choose with.*$/, '')}.`, TODO_SECRETS),
    ),
};

export const moduleWarns: Rule = {
  id: 'module-warns',
  check: (proxy) =>
    complaining(
      proxy,
      (line) => !isAboutTelling(line),
      (where, line) => note(where, `The module says: ${line}.`, 'docs/observe.md has a list of its log lines.'),
    ),
};
