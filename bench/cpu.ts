// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

/**
 * CPU time as the kernel's scheduler counts it, in nanoseconds, and who runs on which core. Only Envoy's one worker
 * thread counts: what its main thread does (the admin page, statistics) is nobody's request.
 * https://docs.kernel.org/scheduler/sched-stats.html#proc-pid-schedstat
 */

/** The core that the Envoys have to themselves, and the one of whatever sends requests. */
const ENVOY_CORE = 0;
const LOAD_CORE = 1;
const isPinned = availableParallelism() > 1;

/** The words before a command that has it run on the load's core. */
export const onLoadCore = isPinned ? ['taskset', '-c', String(LOAD_CORE)] : [];

/** Moves all threads of a process to the Envoys' core. */
export function toEnvoyCore(pid: number): void {
  if (isPinned) execFileSync('taskset', ['-a', '-p', '-c', String(ENVOY_CORE), String(pid)], { stdio: 'ignore' });
}

/** The thread of an Envoy's worker. */
export function workerOf(pid: number): string {
  const tasks = `/proc/${pid}/task`;
  const task = readdirSync(tasks).find((id) => readFileSync(`${tasks}/${id}/comm`, 'utf8').startsWith('wrk:worker_0'));
  if (!task) throw new Error(`process ${pid} has no thread wrk:worker_0: is it an Envoy?`);
  return `${tasks}/${task}`;
}

/** Nanoseconds for which a thread was on a CPU. */
export function cpuTime(task: string): number {
  return Number(readFileSync(`${task}/schedstat`, 'utf8').split(' ')[0]);
}

/** Nanoseconds for which all threads of a process were on a CPU. */
export function processTime(pid: number): number {
  const tasks = `/proc/${pid}/task`;
  return readdirSync(tasks).reduce((sum, id) => sum + cpuTime(`${tasks}/${id}`), 0);
}
