// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { randomBytes, X509Certificate } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

/** Certificates as a mesh has them, made by openssl: for tests, and for the configurations under envoy/. */

/** The name that a mesh's certificate gives to a workload. */
export function spiffe(namespace: string, account: string): string {
  return `spiffe://cluster.local/ns/${namespace}/sa/${account}`;
}

/** A certificate and its key, both PEM files. */
export interface Certificate {
  chain: string;
  key: string;
}

export interface Subject {
  /** URI names: a workload's is its SPIFFE ID. */
  uris?: string[];
  /** Host names: what a gateway shows to strangers. */
  hosts?: string[];
}

/** How long a certificate is good for: they are made anew whenever they are needed. */
const DAYS = '30';

/** OpenSSL's usual configuration differs from system to system: this is all that counts here. */
const SETTINGS = `
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
`;

/** A certificate authority with a folder of its own: what it is known by is `root.crt` there. */
export class Authority {
  /** The root certificate, a PEM file. */
  readonly root: string;
  // Beside no certificate that a proxy is given: its folder may be handed to one.
  private readonly key: string;

  constructor(private readonly folder: string) {
    this.root = join(folder, 'root.crt');
    this.key = join(folder, 'authority', 'root.key');
    mkdirSync(dirname(this.key), { recursive: true });
    this.work((settings) => {
      makeKey(this.key);
      const request = ['-config', settings, '-extensions', 'authority', '-subj', '/O=metadata-exchange example root'];
      openssl('req', '-x509', '-new', '-sha256', '-days', DAYS, '-key', this.key, ...request, '-out', this.root);
    });
  }

  /** Issues a certificate: `NAME.crt` and `NAME.key` in the authority's folder, or in another. */
  issue(name: string, subject: Subject, folder = this.folder): Certificate {
    mkdirSync(folder, { recursive: true });
    const certificate = { chain: join(folder, `${name}.crt`), key: join(folder, `${name}.key`) };
    const names = [
      ...(subject.uris ?? []).map((uri) => `URI:${uri}`),
      ...(subject.hosts ?? []).map((at) => `DNS:${at}`),
    ];
    this.work((settings, scratch) => {
      const extensions = join(scratch, 'extensions');
      writeFileSync(
        extensions,
        `basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = ${names.join(', ')}
`,
      );
      makeKey(certificate.key);
      const request = join(scratch, 'request');
      openssl('req', '-new', '-key', certificate.key, '-config', settings, '-subj', `/O=${name}`, '-out', request);
      const signer = ['-CA', this.root, '-CAkey', this.key, '-set_serial', `0x1${randomBytes(15).toString('hex')}`];
      const made = ['-sha256', '-days', DAYS, '-extfile', extensions, '-out', certificate.chain];
      openssl('x509', '-req', '-in', request, ...signer, ...made);
    });
    return certificate;
  }

  /** Does something with openssl's settings and a folder for what is not kept. */
  private work(what: (settings: string, scratch: string) => void): void {
    const scratch = mkdtempSync(join(tmpdir(), 'certificates-'));
    try {
      const settings = join(scratch, 'settings');
      writeFileSync(settings, SETTINGS);
      what(settings, scratch);
    } finally {
      rmSync(scratch, { recursive: true });
    }
  }
}

/** What tells a certificate from every other, as Envoy's access logs write it: its SHA-256. */
export function fingerprintOf(certificate: Certificate): string {
  return new X509Certificate(readFileSync(certificate.chain)).fingerprint256.replaceAll(':', '').toLowerCase();
}

function makeKey(path: string): void {
  openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', path);
}

function openssl(...args: string[]): void {
  try {
    execFileSync('openssl', args, { stdio: 'pipe' });
  } catch (error) {
    const { code, stderr } = error as { code?: string; stderr?: Buffer };
    if (code === 'ENOENT')
      throw new Error('There is no openssl: install it, the certificates of tests and examples need it.');
    throw new Error(`openssl ${args[0]}: ${stderr}`);
  }
}
