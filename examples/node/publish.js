// Publishes in the engine's own PostgreSQL transaction: the decision and the events that tell of it, or none of it.
//
//   THARSIS_DATABASE_URL=$DATABASE_URL tharsis migrate --key-file tharsis.key      (once, as the owner)
//   DATABASE_URL=postgres://engine@localhost/shop node publish.js events.ndjson
//
// Reads events from the file, or from standard input, one JSON document a line, and prints the id of each. With --rollback
// it changes its mind at the end, and nobody ever hears of them. The role needs EXECUTE on tharsis.publish_all and USAGE on
// its schema.

import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import pg from 'pg';

const { values, positionals } = parseArgs({ options: { rollback: { type: 'boolean' } }, allowPositionals: true });
const events = readFileSync(positionals[0] ?? 0, 'utf8')
  .split('\n')
  .filter((line) => line.trim())
  .map(parse);

const engine = new pg.Client({ connectionString: process.env.DATABASE_URL });
await engine.connect();
try {
  await engine.query('BEGIN');
  // What the engine itself writes down goes here, in the same transaction.
  const ids = await publish(events);
  await engine.query(values.rollback ? 'ROLLBACK' : 'COMMIT');
  for (const id of ids) console.log(id);
} finally {
  await engine.end();
}

// All of them in one round trip: an array for each argument.
async function publish(events) {
  const column = (name) => events.map((event) => event[name] ?? null);
  const { rows } = await engine.query(
    `SELECT event FROM tharsis.publish_all($1::text[], $2::uuid[], $3::text[], keys => $4::text[], campaigns => $5::text[],
                                           recipients => $6::text[], not_befores => $7::timestamptz[],
                                           expires_ats => $8::timestamptz[])`,
    ['type', 'client', 'payload', 'key', 'campaign', 'recipient', 'not_before', 'expires_at'].map(column),
  );
  return rows.map(({ event }) => event);
}

// An event of Mars as it is, any other in its envelope. The payload is text. Out of an envelope it is parsed and printed
// anew, and JSON.parse rounds the numbers that JavaScript does not have; in the text of an engine's own they are refused.
function parse(line) {
  const { payload, ...envelope } = JSON.parse(line);
  if (payload !== undefined) return { ...envelope, payload: JSON.stringify(payload) };
  return { type: envelope.type, client: envelope.clientId, payload: line };
}
