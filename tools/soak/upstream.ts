// SPDX-License-Identifier: Apache-2.0
import net, { type AddressInfo } from 'node:net';

/**
 * The server behind the proxy, for those requests that have one; none of them ends well. `/reset`: the connection is
 * reset before an answer. `/break`: in the middle of one. `/hold`: no answer. `/half`: the first half of one.
 */
export async function startUpstream(): Promise<{ port: number; close(): void }> {
  const sockets = new Set<net.Socket>();
  const half = 'HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nthe first half';
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    socket.once('data', (chunk) => {
      const path = chunk.toString('latin1', 0, 20).split(' ')[1];
      if (path === '/reset') socket.resetAndDestroy();
      else if (path === '/break') socket.write(half, () => setTimeout(() => socket.resetAndDestroy(), 20));
      else if (path === '/half') socket.write(half);
      socket.on('data', () => undefined);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
