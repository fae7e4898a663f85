// SPDX-License-Identifier: Apache-2.0
import { Node, NodeKind, SourceKind, StringLiteralExpression } from 'assemblyscript/dist/assemblyscript.js';
import { Transform } from 'assemblyscript/transform';

/**
 * A transform for asc: in the module's own sources a string literal is the address of its ASCII bytes, with their number
 * before them (assembly/memory/ascii.ts). AssemblyScript's own strings are UTF-16 with a header of 20 bytes each: in this
 * module three times the size, and to be narrowed before the host can read them.
 *
 *     'node'   becomes   memory.data<u8>([4, 0, 110, 111, 100, 101])
 */
export default class Ascii extends Transform {
  afterParse(parser) {
    for (const source of parser.sources) {
      const isLibrary = source.sourceKind === SourceKind.Library || source.sourceKind === SourceKind.LibraryEntry;
      if (!isLibrary && source.normalizedPath.startsWith('assembly/')) {
        for (const statement of source.statements) replaceIn(statement);
      }
    }
  }
}

/** Nodes whose strings are not values: what is imported from where, and names of fields. */
function isNoValue(node) {
  if (node.kind === NodeKind.Import || node.kind === NodeKind.Export) return true;
  return node.kind === NodeKind.Call && node.expression.text === 'offsetof';
}

function replaceIn(node) {
  if (isNoValue(node)) return;
  for (const [key, child] of Object.entries(node)) {
    // A range leads back to the whole source.
    if (key === 'range' || typeof child !== 'object' || child === null) continue;
    node[key] = Array.isArray(child) ? child.map(replaced) : replaced(child);
  }
}

/** What stands in a node's place. */
function replaced(node) {
  if (!(node instanceof Node)) return node;
  if (node instanceof StringLiteralExpression) return bytesOf(node);
  replaceIn(node);
  return node;
}

/** `memory.data<u8>([size, size >> 8, bytes...])` */
function bytesOf({ value, range }) {
  const bytes = [...Buffer.from(value, 'latin1')];
  const wide = [...value].find((letter) => letter > '\x7f');
  if (wide) throw new Error(`${range.source.normalizedPath}: ${JSON.stringify(value)} is not ASCII`);
  const numbers = [value.length & 0xff, value.length >> 8, ...bytes].map((byte) =>
    Node.createIntegerLiteralExpression(i64_new(byte, 0), range),
  );
  const callee = Node.createPropertyAccessExpression(
    Node.createIdentifierExpression('memory', range),
    Node.createIdentifierExpression('data', range),
    range,
  );
  const u8 = Node.createNamedType(Node.createSimpleTypeName('u8', range), null, false, range);
  return Node.createCallExpression(callee, [u8], [Node.createArrayLiteralExpression(numbers, range)], range);
}
