// SPDX-License-Identifier: Apache-2.0
import { defineCommand } from 'citty';
import { missingPage, PageServer } from '../serve/server.ts';
import { Watch } from '../serve/watch.ts';
import { DONE, needModule, print, UsageError } from './common.ts';
import { secondsOf, sourcesOf } from './map.ts';

/** The time that the page's numbers are of, unless told. */
const SECONDS = { envoys: 10, prometheus: 60 };
const PORT = '15080';

/** `metadata-exchange serve`: the map as a page that stays up to date. */
export const serve = defineCommand({
  meta: { name: 'serve', description: 'The map as a page on this machine, which shows each change within seconds' },
  args: {
    address: {
      type: 'positional',
      required: false,
      description: 'Admin addresses of Envoys: HOST:PORT or a page’s URL',
    },
    file: { type: 'string', valueHint: 'path', description: 'more addresses, one a line; - is the standard input' },
    prometheus: { type: 'string', valueHint: 'url', description: 'ask this Prometheus server instead of Envoys' },
    seconds: { type: 'string', valueHint: 'n', description: 'the time that numbers are of: 10, or 60 with Prometheus' },
    port: { type: 'string', valueHint: 'n', description: `the page’s port: ${PORT} unless told; 0 is any free one` },
  },
  async run({ args }) {
    const { addresses, prometheus } = sourcesOf(args);
    const seconds = secondsOf(args.seconds, prometheus === undefined ? SECONDS.envoys : SECONDS.prometheus);
    const port = Number(args.port ?? PORT);
    if (!/^\d+$/.test(args.port ?? PORT) || port > 65_535) throw new UsageError('--port must be a number up to 65535');
    needModule();
    const missing = missingPage();
    if (missing) throw new UsageError(missing);
    const watch = new Watch({ addresses, prometheus, seconds });
    await using page = await started(watch, port);
    print(`The map is at ${page.url} until you press Ctrl-C.`);
    for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => watch.stop());
    await watch.run();
    return DONE;
  },
});

async function started(watch: Watch, port: number): Promise<PageServer> {
  try {
    return await PageServer.start(watch, port);
  } catch (error) {
    throw new UsageError(`port ${port}: ${(error as Error).message}; --port=0 takes any free one`);
  }
}
