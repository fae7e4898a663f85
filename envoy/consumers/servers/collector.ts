// SPDX-License-Identifier: Apache-2.0
import { fileURLToPath } from 'node:url';
import { GrpcServer, type Json } from './grpc.ts';

/**
 * Takes what proxies report: spans and logs of OpenTelemetry, and Envoy's own gRPC access log. Run as a program it
 * listens at the port 4317 and prints each as a line of JSON.
 */

/** Attributes as an object. */
function attributes(list: Json[] = []): Json {
  return Object.fromEntries(list.map(({ key, value }) => [key, anyValue(value)]));
}

function anyValue(value: Json): Json {
  if (value?.arrayValue) return (value.arrayValue.values ?? []).map(anyValue);
  if (value?.kvlistValue) return attributes(value.kvlistValue.values);
  return Object.values(value ?? {})[0];
}

export class Collector implements AsyncDisposable {
  /** What was reported, oldest first: `{ span }`, `{ log }` or `{ entry }`. */
  readonly reports: Json[] = [];

  private constructor(private readonly report: (report: Json) => void) {}

  private server: GrpcServer | undefined;

  static async start(port = 0, report: (report: Json) => void = () => undefined): Promise<Collector> {
    const collector = new Collector(report);
    const otlp = 'opentelemetry.proto.collector';
    collector.server = await GrpcServer.start(port, [
      {
        proto: 'otlp_traces.proto',
        name: `${otlp}.trace.v1.TraceService`,
        methods: { Export: (message) => collector.takeSpans(message) },
      },
      {
        proto: 'otlp_logs.proto',
        name: `${otlp}.logs.v1.LogsService`,
        methods: { Export: (message) => collector.takeLogs(message) },
      },
      {
        proto: 'access_log.proto',
        name: 'envoy.service.accesslog.v3.AccessLogService',
        methods: { StreamAccessLogs: (message) => collector.takeEntries(message) },
      },
    ]);
    return collector;
  }

  get port(): number {
    return this.server!.port;
  }

  private take(report: Json): void {
    this.reports.push(report);
    this.report(report);
  }

  private takeSpans(message: Json): undefined {
    for (const { scopeSpans } of message.resourceSpans ?? []) {
      for (const span of (scopeSpans ?? []).flatMap((scope: Json) => scope.spans ?? [])) {
        const { traceId, spanId, parentSpanId, name } = span;
        const ids = {
          trace: traceId?.toString('hex'),
          id: spanId?.toString('hex'),
          parent: parentSpanId?.toString('hex'),
        };
        this.take({ span: { ...ids, name, attributes: attributes(span.attributes) } });
      }
    }
  }

  private takeLogs(message: Json): undefined {
    for (const { scopeLogs } of message.resourceLogs ?? []) {
      for (const record of (scopeLogs ?? []).flatMap((scope: Json) => scope.logRecords ?? [])) {
        this.take({ log: { body: anyValue(record.body), attributes: attributes(record.attributes) } });
      }
    }
  }

  private takeEntries(message: Json): undefined {
    for (const entry of message.httpLogs?.logEntry ?? []) this.take({ entry });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server?.[Symbol.asyncDispose]();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await Collector.start(4317, (report) => console.log(JSON.stringify(report)));
}
