// SPDX-License-Identifier: Apache-2.0
import { missingPage, PageServer } from '../../cli/serve/server.ts';
import { Watch } from '../../cli/serve/watch.ts';

/** The page of `metadata-exchange serve`, in this process: the demo's mesh as it is now. */

/** Where it is looked for first; if that is taken, anywhere. */
const PORT = 15_080;
const SECONDS = 10;

export class LiveMap implements AsyncDisposable {
  private constructor(
    private readonly watch: Watch,
    private readonly running: Promise<void>,
    private readonly server: PageServer,
  ) {}

  /** Asks the Envoys with these admin pages from now on. */
  static async start(addresses: string[]): Promise<LiveMap> {
    const missing = missingPage();
    if (missing) throw new Error(missing);
    const watch = new Watch({ addresses, seconds: SECONDS });
    const server = await PageServer.start(watch, PORT).catch(() => PageServer.start(watch, 0));
    return new LiveMap(watch, watch.run(), server);
  }

  get url(): string {
    return this.server.url;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.watch.stop();
    await this.running;
    await this.server[Symbol.asyncDispose]();
  }
}
