import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mock, test } from 'node:test';
import { isGenuine, verify } from './verify.js';

// A request of each profile: those of the corpus, and of profiles that are not in it what their documents demand.
const vectors = JSON.parse(readFileSync(new URL('../../tests/corpus/signatures.json', import.meta.url), 'utf8'))
  .filter(({ profile }) => profile !== 'smartech')
  .map(({ headers, ...vector }) => ({ ...vector, headers: lower(headers) }));

const now = 1_790_000_000;
const secret = 'correct-horse-battery-staple-42';
const body = '{"name":"Zürich – 30 °"}';
const sign = (hash, text, form) => createHmac(hash, secret).update(text).digest(form);
const others = Object.entries({
  github: { 'x-hub-signature-256': `sha256=${sign('sha256', body, 'hex')}` },
  shopify: { 'x-shopify-hmac-sha256': sign('sha256', body, 'base64') },
  stripe: { 'stripe-signature': `t=${now},v1=${sign('sha256', `${now}.${body}`, 'hex')}` },
  acme: {
    'x-acme-id': 'a',
    'x-acme-time': `${now}`,
    'x-acme-signature': sign('sha512', `a.${now}.${body}`, 'base64'),
  },
}).map(([profile, headers]) => ({ profile, secret, body, headers }));

for (const profile of Object.keys(verify).filter((profile) => profile !== 'smartech')) {
  const requests = [...vectors, ...others].filter((vector) => vector.profile === profile);
  const header = Object.keys(requests[0]?.headers ?? {}).at(-1);

  test(`${profile}: what is genuine, and what is not`, async () => {
    assert.ok(requests.length > 0);
    for (const { secret, body, headers, url } of requests) {
      mock.timers.enable({ apis: ['Date'], now: Number(headers['webhook-timestamp'] ?? now) * 1000 });
      const ask = ({ secrets = [secret], ...changed }) =>
        isGenuine(profile, secrets, { headers, url, ...changed, body: read(profile, changed.body ?? body) });
      const other = secret.replace(/.....$/, 'AAAA=');

      assert.ok(await ask({}));
      assert.ok(await ask({ secrets: [other, secret] }), 'while it is replaced');
      assert.ok(!(await ask({ secrets: [other] })));
      assert.ok(!(await ask({ body: body.replace('{', '{"a":1,') })));
      const given = headers[header];
      for (const bad of [undefined, '', given.slice(4), given.slice(0, -1), `${given}x`, given.toUpperCase(), 'é']) {
        assert.ok(!(await ask({ headers: { ...headers, [header]: bad } })), `${bad}`);
      }
      if (profile === 'insightarc') assert.ok(!(await ask({ url: url.toLowerCase() + '/' })));
      if (['standard', 'stripe', 'acme'].includes(profile)) {
        mock.timers.setTime(Date.now() + 301_000);
        assert.ok(!(await ask({})), 'five minutes later');
      }
      mock.timers.reset();
    }
  });
}

test('smartech: credentials are compared, whatever their length', async () => {
  const ask = (authorization) => isGenuine('smartech', ['shop:hunter22'], { headers: { authorization } });
  assert.ok(await ask('Basic c2hvcDpodW50ZXIyMg=='));
  for (const bad of [undefined, '', 'Basic', 'Basic c2hvcDpodW50ZXIyMw==', 'c2hvcDpodW50ZXIyMg==', 'Bearer hunter22']) {
    assert.ok(!(await ask(bad)), bad);
  }
});

function lower(headers) {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
}

function read(profile, body) {
  return ['mars', 'insightarc', 'nudge'].includes(profile) ? JSON.parse(body) : Buffer.from(body);
}
