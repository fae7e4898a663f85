// SPDX-License-Identifier: Apache-2.0

import { existsSync, statSync } from 'node:fs';
import http from 'node:http';

/** Asking Envoys and servers by HTTP. */

/** How long anybody may take to answer, unless told. */
const MOST_MILLISECONDS = 10_000;

/** `host:port`, or something that begins with http:// or https://. */
export const urlOf = (address: string) => (/^https?:\/\//.test(address) ? address : `http://${address}`);

/** Whether somebody can be asked at an address. */
export const isAddress = (address: string) => URL.canParse(urlOf(address));

/** Why somebody could not tell, in a few words. */
export function reasonOf(error: unknown): string {
  const { message, cause, name } = error as Error & { cause?: Error & { code?: string } };
  return name === 'TimeoutError' ? 'no answer' : cause?.code || cause?.message || message;
}

/** What an address could not tell, in one line. */
export const failure = (address: string, error: unknown) => `${address}: ${reasonOf(error)}`;

/** A page's text, or, with a body, the answer to a form; throws if there is none. */
export async function ask(url: URL, options: { body?: URLSearchParams; milliseconds?: number } = {}): Promise<string> {
  const { body, milliseconds = MOST_MILLISECONDS } = options;
  const method = body ? 'POST' : 'GET';
  const response = await fetch(url, { method, body, signal: AbortSignal.timeout(milliseconds) });
  const text = await response.text();
  if (!response.ok) throw new Error(`answered ${response.status}: ${text.slice(0, 200).trim()}`);
  return text;
}

/** Whether something is a socket in the file system, where an Envoy may have its admin page. */
export const isSocket = (path: string) => existsSync(path) && statSync(path).isSocket();

/** A page that somebody serves at a socket; throws if there is none. */
export function askAtSocket(socketPath: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(MOST_MILLISECONDS);
    const request = http.get({ socketPath, path, signal, agent: false }, async (response) => {
      try {
        let text = '';
        for await (const chunk of response.setEncoding('utf8')) text += chunk;
        if (response.statusCode !== 200) throw new Error(`answered ${response.statusCode}`);
        resolve(text);
      } catch (error) {
        reject(error);
      }
    });
    request.on('error', reject);
  });
}
