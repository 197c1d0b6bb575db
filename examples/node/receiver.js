// Receives the webhooks of Tharsis, verifies each, and prints one line of JSON for each that is genuine.
//
//   PORT=9443 TLS_CERT=server.pem TLS_KEY=server.key WEBHOOK_SECRET=… node receiver.js --profile nudge
//
// The profile is mars unless given; verify.js has them all. HOST is 127.0.0.1 unless given; PORT=0 takes any free port.
// WEBHOOK_NEXT_SECRET is believed too: set it before the sender rotates. For insightarc WEBHOOK_URL is the URL exactly as it
// was registered; for smartech WEBHOOK_SECRET is `user:password`. Tharsis speaks to HTTPS only. Behind a proxy that ends TLS
// you would listen without a certificate; everything else stays as it is.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { parseArgs } from 'node:util';
import express from 'express';
import { isGenuine, verify } from './verify.js';

const { profile } = parseArgs({ options: { profile: { type: 'string', default: 'mars' } } }).values;
const { HOST = '127.0.0.1', PORT = '9443', TLS_CERT, TLS_KEY } = process.env;
const { WEBHOOK_SECRET, WEBHOOK_NEXT_SECRET, WEBHOOK_URL } = process.env;
if (!TLS_CERT || !TLS_KEY || !WEBHOOK_SECRET) {
  console.error('set TLS_CERT and TLS_KEY (files in PEM) and WEBHOOK_SECRET');
  process.exit(2);
}
if (!(profile in verify) || (profile === 'insightarc' && !WEBHOOK_URL)) {
  console.error(`--profile is one of ${Object.keys(verify).join(', ')}; insightarc needs WEBHOOK_URL`);
  process.exit(2);
}
const secrets = [WEBHOOK_SECRET, WEBHOOK_NEXT_SECRET].filter(Boolean);

// What is read out of a body, and how the event is got from it.
const type = () => true;
const parsed = { parser: express.json({ type }), event: (body) => body };
const form = { parser: express.urlencoded({ type, extended: false }), event: (body) => JSON.parse(body.data) };
const bytes = { parser: express.raw({ type, limit: 262_144 }), event: (body) => JSON.parse(body) };
const { parser, event } = { mars: parsed, insightarc: parsed, nudge: parsed, smartech: form }[profile] ?? bytes;

// What names an event, the same whenever it is sent to be taken once. Here it is remembered while this process lives; a table would do better.
const names = {
  nudge: 'x-idempotent-key',
  standard: 'webhook-id',
  github: 'x-github-delivery',
  shopify: 'x-shopify-event-id',
  acme: 'x-acme-id',
};
const seen = new Set();

const app = express();
app.disable('x-powered-by');

// Registration asks with one HEAD request whether somebody is there, and wants exactly 200.
app.head('/{*path}', (req, res) => res.status(200).end());

app.post('/{*path}', parser, async (req, res) => {
  const { headers, body } = req;
  if (!(await isGenuine(profile, secrets, { headers, body, url: WEBHOOK_URL }))) {
    res.status(profile === 'nudge' ? 403 : 401).json({ error: 'not genuine' });
    return;
  }
  // Take it down first and answer at once: the work comes later, since the sender does not wait for it. An event can come
  // twice; whoever must act once remembers its name.
  const line = JSON.stringify(event(body));
  const name = headers[names[profile]];
  if (seen.has(name)) console.error(`again: ${name}`);
  else console.log(line);
  if (name) seen.add(name);
  res.status(200).end();
});

// What cannot be parsed cannot have been sent by us; neither is worth a stack trace.
app.use((error, req, res, next) => {
  res.status(error.status ?? (error instanceof SyntaxError ? 400 : 500)).json({ error: error.type ?? 'failed' });
});

const server = createServer({ cert: readFileSync(TLS_CERT), key: readFileSync(TLS_KEY) }, app);
server.listen(Number(PORT), HOST, () => {
  const { address, port } = server.address();
  console.error(`listening on https://${address}:${port}`);
});

process.on('SIGTERM', () => {
  server.close();
  server.closeIdleConnections();
});
