// SPDX-License-Identifier: Apache-2.0

/** Asking Envoys and servers by HTTP. */

/** How long anybody may take to answer. */
const MOST_MILLISECONDS = 10_000;

/** `host:port`, or something that begins with http:// or https://. */
export const urlOf = (address: string) => (/^https?:\/\//.test(address) ? address : `http://${address}`);

/** Whether somebody can be asked at an address. */
export const isAddress = (address: string) => URL.canParse(urlOf(address));

/** What an address could not tell, in one line. */
export function failure(address: string, error: unknown): string {
  const { message, cause, name } = error as Error & { cause?: Error & { code?: string } };
  const reason = name === 'TimeoutError' ? 'no answer' : cause?.code || cause?.message || message;
  return `${address}: ${reason}`;
}

/** A page; or, with a body, the answer to a form. */
export async function ask(url: URL, body?: URLSearchParams): Promise<string> {
  const method = body ? 'POST' : 'GET';
  const response = await fetch(url, { method, body, signal: AbortSignal.timeout(MOST_MILLISECONDS) });
  const text = await response.text();
  if (!response.ok) throw new Error(`answered ${response.status}: ${text.slice(0, 200).trim()}`);
  return text;
}
