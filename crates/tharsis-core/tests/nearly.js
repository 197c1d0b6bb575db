// Reads what is nearly JSON. Each line of the file is, in hex, a text and what we write for it, or `refused`.
const { readFileSync } = require('node:fs');

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const text = (hex) => utf8.decode(Buffer.from(hex, 'hex'));

let read = 0, refused = 0;
const otherwise = [];
for (const line of readFileSync(process.argv[2], 'latin1').trimEnd().split('\n')) {
  const [given, ours] = line.split(' ');
  let theirs;
  try { theirs = JSON.stringify(JSON.parse(text(given))); } catch { theirs = 'refused'; }
  const expected = ours === 'refused' ? ours : text(ours);
  if (theirs !== expected && otherwise.length < 5) otherwise.push([text(given).slice(0, 500), theirs.slice(0, 500), expected.slice(0, 500)]);
  ours === 'refused' ? refused++ : read++;
}
console.log(JSON.stringify({ read, refused, otherwise }));
