// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import getPort from 'get-port';
import { Daemon, program, type Result, run } from './programs.ts';

const USER = 'somebody';
const PASSWORD = 'secret';
/** That password, as htpasswd -B writes it. */
const HTPASSWD = `${USER}:$2y$05$b04yoNynMEHT7OywxjSCCOlQ478rOXWvUOatyfhc0sWGcp4F3myG6`;

export interface RegistryOptions {
  /** What it calls itself when it asks for a password; without this it asks for none. */
  realm?: string;
}

/** A container registry on this machine, and a folder with what `docker login` would have written about it. */
export class Registry implements AsyncDisposable {
  private constructor(
    private readonly daemon: Daemon,
    private readonly folder: string,
    /** Host and port. */
    readonly host: string,
  ) {}

  static async start({ realm }: RegistryOptions = {}): Promise<Registry> {
    const folder = mkdtempSync(join(tmpdir(), 'registry-'));
    const host = `127.0.0.1:${await getPort()}`;
    writeFileSync(join(folder, 'htpasswd'), HTPASSWD);
    const config = {
      version: '0.1',
      log: { level: 'error', accesslog: { disabled: true } },
      storage: { filesystem: { rootdirectory: join(folder, 'images') } },
      http: { addr: host },
      auth: realm && { htpasswd: { realm, path: join(folder, 'htpasswd') } },
    };
    writeFileSync(join(folder, 'config.yaml'), JSON.stringify(config));
    mkdirSync(join(folder, 'login'));
    const auth = Buffer.from(`${USER}:${PASSWORD}`).toString('base64');
    writeFileSync(join(folder, 'login/config.json'), JSON.stringify({ auths: { [host]: { auth } } }));
    const daemon = Daemon.start('registry', program('registry'), ['serve', join(folder, 'config.yaml')], {
      env: { OTEL_TRACES_EXPORTER: 'none' },
    });
    await daemon.until('it answers', () => fetch(`http://${host}/v2/`).catch(() => undefined));
    return new Registry(daemon, folder, host);
  }

  /** The file with the password: what a Secret of type kubernetes.io/dockerconfigjson has in it. */
  get pullSecret(): string {
    return join(this.folder, 'login/config.json');
  }

  /** Pushes build/image, with `make push` as everybody does; the answer has the digest. */
  async push(image: string, { login = false } = {}): Promise<Result & { digest?: string }> {
    const env = { IMAGE: `${this.host}/${image}`, ...(login && { DOCKER_CONFIG: join(this.folder, 'login') }) };
    const result = await run('make', ['--no-print-directory', 'push'], { env });
    return { ...result, digest: /@(sha256:\w+)/.exec(result.output.toString())?.[1] };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.daemon[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Gets a module with the code of Istio's agent. */
export async function fetchAsIstio(
  url: string,
  options: { sha256?: string; pullSecret?: string } = {},
): Promise<Result> {
  const args = [];
  if (options.sha256 !== undefined) args.push('-sha256', options.sha256);
  if (options.pullSecret !== undefined) args.push('-pull-secret', options.pullSecret);
  return run(program('fetch'), [...args, url]);
}
