import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { verify } from './verify.js';

const vectors = JSON.parse(readFileSync(new URL('../../tests/corpus/signatures.json', import.meta.url), 'utf8'))
  .filter(({ profile }) => profile === 'mars')
  .map(({ secret, body, headers }) => ({ secret, body: JSON.parse(body), header: headers['X-Mars-Signature'] }));

test('every vector is genuine', () => {
  assert.ok(vectors.length > 0);
  for (const { secret, body, header } of vectors) assert.ok(verify(secret, body, header));
});

test('a changed body, another secret and a bad header are not', () => {
  for (const { secret, body, header } of vectors) {
    assert.ok(!verify(secret, { ...body, campaignId: 'another' }, header));
    assert.ok(!verify(`${secret}x`, body, header));
    for (const bad of [undefined, '', 'sha1=', header.slice(5), header.slice(0, -1), `${header} `, header.toUpperCase()]) {
      assert.ok(!verify(secret, body, bad));
    }
  }
});
