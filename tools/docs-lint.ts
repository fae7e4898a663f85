// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import GithubSlugger from 'github-slugger';
import { Lexer, type Token, type Tokens, walkTokens } from 'marked';

/**
 * Checks the pages that people read:
 *
 * - No line of prose, and no comment in a configuration, is longer than 120 characters. Tables and code may be.
 * - Code is not typed twice. A block below `<!-- included from PATH -->` is that file; below
 *   `<!-- included from PATH#LINE -->` it is that line of the file and the lines that belong to it by indentation.
 *   In README and docs all YAML, Lua and TypeScript is included so. With `--fix` the blocks are written again.
 * - Links to files and to headings lead somewhere, and each page of docs lists its own headings at its top.
 * - README has 1,500 words at the most.
 */

const ROOT = join(import.meta.dirname, '..');
const MOST_CHARACTERS = 120;
const MOST_WORDS = 1500;
const FIX = process.argv.includes('--fix');

/** Files whose comments are checked too. */
const COMMENTED = /^(envoy\/.*\.(ya?ml|lua)|tools\/(docs-lint|try-readme)\.ts)$/;
const COMMENT = /^ *(#|\/\/|\*|--) /;

/** Languages that are shown in README and docs as parts of files that tests run, and in no other way. */
const INCLUDED = ['yaml', 'lua', 'ts'];

const problems: string[] = [];

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

/** The project's files, also those that are not committed yet. */
function projectFiles(): string[] {
  const list = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: ROOT });
  return list
    .toString()
    .split('\n')
    .filter((path) => path && existsSync(join(ROOT, path)));
}

const lengthOf = (line: string) => [...line].length;

function checkLength(path: string, line: number, text: string): void {
  // One long word, such as an address, cannot be broken.
  if (lengthOf(text) <= MOST_CHARACTERS || !text.trim().slice(0, -1).includes(' ')) return;
  problems.push(`${path}:${line}: ${lengthOf(text)} characters: break the line at ${MOST_CHARACTERS}`);
}

/** Lines of prose: all that is neither code nor a table. */
function checkProse(path: string, tokens: Token[]): void {
  let line = 1;
  for (const token of tokens) {
    let inCode = false;
    for (const [i, text] of token.raw.split('\n').entries()) {
      if (/^ *```/.test(text)) inCode = !inCode;
      const isProse = !inCode && token.type !== 'code' && token.type !== 'table' && !/^ *\|/.test(text);
      if (isProse) checkLength(path, line + i, text);
    }
    line += token.raw.split('\n').length - 1;
  }
}

function checkComments(path: string): void {
  for (const [i, text] of read(path).split('\n').entries()) {
    // Where a file is copied into another one, with indentation, the original is what is checked.
    if (COMMENT.test(text) && !(path.endsWith('.yaml') && /^ *--/.test(text))) checkLength(path, i + 1, text);
  }
}

const indentOf = (line: string) => line.search(/\S|$/);

/** The lines of a file that an include names, without the indentation that they share. */
function linesOf(path: string, anchor: string | undefined): string {
  const lines = read(path).trimEnd().split('\n');
  if (!anchor) return lines.join('\n');
  const found = lines.flatMap((line, i) => (line.trim() === anchor ? [i] : []));
  if (found.length !== 1) throw new Error(`${path} has ${found.length} lines \`${anchor}\`, and there must be one`);
  const [first] = found;
  const indent = indentOf(lines[first]);
  // A comment goes with what it is about.
  let end = first + 1;
  while (lines[end - 1].trim().startsWith('#') && indentOf(lines[end]) === indent) end++;
  while (end < lines.length && (lines[end] === '' || indentOf(lines[end]) > indent)) end++;
  // What is closed where it was opened.
  if (/^ *[)\]}]/.test(lines[end] ?? '') && indentOf(lines[end]) === indent) end++;
  const block = lines.slice(first, end).map((line) => line.slice(indent));
  return block.join('\n').trimEnd();
}

const INCLUDE = /^( *)<!-- included from ([^\s#]+)(?:#(.+?))? -->\n *```(\w+)\n([\s\S]*?)\n? *```$/gm;

/** The text of a page with its included blocks as they should be. */
function withIncludes(path: string, text: string): string {
  const marks = [...text.matchAll(/^ *<!-- included from /gm)].length;
  if (marks !== [...text.matchAll(INCLUDE)].length) problems.push(`${path}: no block of code below an “included from”`);
  return text.replace(INCLUDE, (block, indent, file, anchor, language, shown) => {
    try {
      const lines = linesOf(file, anchor).replaceAll(/^(?=.)/gm, indent);
      if (lines === shown) return block;
      if (!FIX) problems.push(`${path}: what is included from ${file} is not what stands there: run \`make format\``);
      const [mark] = block.split('\n', 1);
      return [mark, `${indent}\`\`\`${language}`, lines, `${indent}\`\`\``].join('\n');
    } catch (error) {
      problems.push(`${path}: ${(error as Error).message}`);
      return block;
    }
  });
}

/** Blocks that should be included from somewhere, and are not. */
function checkIncluded(path: string, text: string): void {
  const all = text.split('\n').filter((line) => INCLUDED.some((each) => line.trim() === `\`\`\`${each}`)).length;
  const included = [...text.matchAll(INCLUDE)].filter(([, , , , language]) => INCLUDED.includes(language)).length;
  if (all > included) problems.push(`${path}: ${all - included} blocks of ${INCLUDED.join(', ')} are not included`);
}

/** What is read of a heading: no marks, only text. */
function textOf(tokens: Token[]): string {
  return tokens.map((token) => ('tokens' in token && token.tokens ? textOf(token.tokens) : unescaped(token))).join('');
}

function unescaped(token: Token): string {
  const text = 'text' in token ? String(token.text) : token.raw;
  return text.replaceAll('&quot;', '"').replaceAll('&#39;', "'").replaceAll('&lt;', '<').replaceAll('&amp;', '&');
}

interface Heading {
  depth: number;
  anchor: string;
}

const headings = new Map<string, Heading[]>();

function headingsOf(path: string): Heading[] {
  const known = headings.get(path);
  if (known) return known;
  const slugger = new GithubSlugger();
  const found: Heading[] = [];
  walkTokens(Lexer.lex(read(path)), (token) => {
    if (token.type !== 'heading') return;
    const { depth, tokens } = token as Tokens.Heading;
    found.push({ depth, anchor: slugger.slug(textOf(tokens)) });
  });
  headings.set(path, found);
  return found;
}

/** Links to what is in the repository; those to a page's own headings as `#…`. */
function linksOf(tokens: Token[]): string[] {
  const found: string[] = [];
  walkTokens(tokens as Tokens.Generic[] as never, (token) => {
    if (token.type !== 'link' && token.type !== 'image') return;
    const { href } = token as Tokens.Link;
    if (!/^[a-z]+:/.test(href)) found.push(href);
  });
  return found;
}

function checkLinks(path: string, tokens: Token[]): void {
  for (const href of linksOf(tokens)) {
    const [file, anchor] = decodeURI(href).split('#');
    const target = file ? normalize(join(dirname(path), file)) : path;
    if (target.startsWith('..')) problems.push(`${path}: ${href} leaves the repository`);
    else if (!existsSync(join(ROOT, target))) problems.push(`${path}: ${href} leads to nothing`);
    else if (anchor && !(target.endsWith('.md') && headingsOf(target).some((each) => each.anchor === anchor)))
      problems.push(`${path}: ${href} leads to no heading of ${relative('.', target)}`);
  }
}

/** Each page of docs has a list of its sections before the first of them. */
function checkContents(path: string, tokens: Token[]): void {
  const first = tokens.findIndex((token) => token.type === 'heading' && (token as Tokens.Heading).depth === 2);
  if (first < 0) return;
  const listed = linksOf(tokens.slice(0, first));
  for (const { depth, anchor } of headingsOf(path)) {
    if (depth === 2 && !listed.includes(`#${anchor}`))
      problems.push(`${path}: the contents at its top do not have #${anchor}`);
  }
}

for (const path of projectFiles()) {
  if (COMMENTED.test(path)) checkComments(path);
  if (!path.endsWith('.md') || statSync(join(ROOT, path)).isDirectory()) continue;
  const before = read(path);
  const text = withIncludes(path, before);
  if (FIX && text !== before) writeFileSync(join(ROOT, path), text);
  const tokens = Lexer.lex(text);
  checkProse(path, tokens);
  checkLinks(path, tokens);
  const isPage = path.startsWith('docs/');
  if (isPage || path === 'README.md') checkIncluded(path, text);
  if (isPage && path !== 'docs/README.md') checkContents(path, tokens);
}

const words = read('README.md').split(/\s+/).filter(Boolean).length;
if (words > MOST_WORDS) problems.push(`README.md has ${words} words: ${MOST_WORDS} at the most`);

for (const problem of problems) console.error(problem);
if (problems.length > 0) process.exitCode = 1;
