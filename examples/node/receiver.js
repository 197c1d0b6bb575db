// Receives the webhooks of Tharsis, verifies each, and prints one line of JSON for each that is genuine.
//
//   PORT=9443 TLS_CERT=server.pem TLS_KEY=server.key WEBHOOK_SECRET=… node receiver.js
//
// HOST is 127.0.0.1 unless given; PORT=0 takes any free port. Tharsis speaks to HTTPS only. Behind a proxy that ends
// TLS you would listen without a certificate; everything else stays as it is.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import express from 'express';
import { verify } from './verify.js';

const { HOST = '127.0.0.1', PORT = '9443', TLS_CERT, TLS_KEY, WEBHOOK_SECRET } = process.env;
if (!TLS_CERT || !TLS_KEY || !WEBHOOK_SECRET) {
  console.error('set TLS_CERT and TLS_KEY (files in PEM) and WEBHOOK_SECRET');
  process.exit(2);
}

const app = express();
app.disable('x-powered-by');

// Registration asks with one HEAD request whether somebody is there, and wants exactly 200.
app.head('/{*path}', (req, res) => res.status(200).end());

app.post('/{*path}', express.json({ type: () => true }), (req, res) => {
  if (!verify(WEBHOOK_SECRET, req.body, req.get('X-Mars-Signature'))) {
    res.status(401).json({ error: 'bad signature' });
    return;
  }
  // Take it down first and answer at once: the work comes later, since the sender waits three seconds and no longer.
  // An event can come twice; whoever must act once remembers its id.
  console.log(JSON.stringify(req.body));
  res.status(200).end();
});

// What cannot be parsed cannot have been signed by us; neither is worth a stack trace.
app.use((error, req, res, next) => {
  res.status(error.status ?? 500).json({ error: error.type ?? 'failed' });
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
