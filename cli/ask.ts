// SPDX-License-Identifier: Apache-2.0

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
