// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

/** How much of a process is in memory, in bytes. */
export interface Memory {
  resident: number;
  /** What is no file's copy: heaps, the memories of Wasm VMs, stacks. It is this that leaks. */
  anonymous: number;
}

export function memoryOf(pid: number): Memory {
  const path = `/proc/${pid}/smaps_rollup`;
  if (!existsSync(path)) {
    // Elsewhere than on Linux there is only one number.
    const resident = Number(execFileSync('ps', ['-o', 'rss=', '-p', String(pid)], { encoding: 'utf8' })) * 1024;
    return { resident, anonymous: resident };
  }
  const text = readFileSync(path, 'utf8');
  const bytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]) * 1024;
  return { resident: bytes('Rss'), anonymous: bytes('Anonymous') };
}

/** The slope of the line that fits points best: least squares. */
export function slope(points: { x: number; y: number }[]): number {
  const mean = (values: number[]) => values.reduce((sum, each) => sum + each, 0) / values.length;
  const [x, y] = [mean(points.map((each) => each.x)), mean(points.map((each) => each.y))];
  const covariance = points.reduce((sum, each) => sum + (each.x - x) * (each.y - y), 0);
  return covariance / points.reduce((sum, each) => sum + (each.x - x) ** 2, 0);
}
