// Reads URLs as the WHATWG has it. Each line says what we make of one.
const { readFileSync } = require('node:fs');

let read = 0;
const otherwise = [];
for (const line of readFileSync(0, 'utf8').trimEnd().split('\n')) {
  const { given, canonical, host, port, target } = JSON.parse(line);
  for (const text of [given, canonical]) {
    let url;
    try { url = new URL(text); } catch { url = { href: 'refused', origin: '' }; }
    // `search` does not tell a question mark that nothing follows.
    const same = url.protocol === 'https:' && url.hostname === host && Number(url.port || 443) === port
      && url.href.slice(url.origin.length) === target && !url.username && !url.password && url.href === canonical;
    if (!same && otherwise.length < 5) otherwise.push([text, url.href, canonical]);
  }
  read++;
}
console.log(JSON.stringify({ read, otherwise }));
