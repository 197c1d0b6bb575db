import { createHash, createHmac, createPublicKey, timingSafeEqual, verify as isSignedBy } from 'node:crypto';
import * as github from '@octokit/webhooks-methods';
import { Webhook } from 'standardwebhooks';
import Stripe from 'stripe';

/**
 * Whether a request of this profile is genuine, by any of these secrets: two of them while one is being replaced.
 *
 * `headers` are named in lower case. `body` is what the profile's parser in receiver.js makes of it: the parsed event, the
 * fields of a form, or the bytes as they came. `url` is where the webhook was registered, exactly as it was typed there.
 */
export async function isGenuine(profile, secrets, { headers, body, url }) {
  for (const secret of secrets) {
    try {
      if (await verify[profile](secret, headers, body, url)) return true;
    } catch {
      // So the packages say no.
    }
  }
  return false;
}

export const verify = {
  // The first three sign what JSON.stringify makes of the parsed body, as their documentations show it. Tharsis writes its
  // bodies so that this gives back exactly the bytes that were sent: hashing the raw body would do as well.

  mars: (secret, headers, body) =>
    same(headers['x-mars-signature'], `sha1=${hmac('sha1', secret, JSON.stringify(body)).digest('hex')}`),

  insightarc: (secret, headers, body, url) =>
    same(headers['x-insightarc-signature'], hmac('sha1', secret, JSON.stringify(body), url).digest('base64')),

  nudge: (secret, headers, body) =>
    same(headers['x-nudge-signature'], hmac('sha256', secret, JSON.stringify(body)).digest('hex')),

  // Nothing is signed. The secret is what the sender was given as credentials: `user:password`.
  smartech: (secret, headers) => same(headers.authorization, `Basic ${Buffer.from(secret).toString('base64')}`),

  // These sign the bytes as they came. What has a time is refused by all of them once it is five minutes old.

  // `whpk_…` is the public key of a pair, as `tharsis subscription show` says it. The package knows secrets (`whsec_…`) only.
  standard: (secret, headers, body) => {
    if (secret.startsWith('whpk_')) return isSignedByPair(secret, headers, body);
    new Webhook(secret).verify(body, headers, { jsonParse: false });
    return true;
  },

  github: (secret, headers, body) => github.verify(secret, body.toString(), headers['x-hub-signature-256']),

  shopify: (secret, headers, body) =>
    same(headers['x-shopify-hmac-sha256'], hmac('sha256', secret, body).digest('base64')),

  stripe: (secret, headers, body) => Boolean(Stripe.webhooks.constructEvent(body, headers['stripe-signature'], secret)),

  // Declared by whoever runs Tharsis: HMAC-SHA512 over the id, the time and the body, with dots between.
  acme: (secret, headers, body) => {
    const { 'x-acme-id': id, 'x-acme-time': time, 'x-acme-signature': signature } = headers;
    const isRecent = Math.abs(Date.now() / 1000 - Number(time)) <= 300;
    return isRecent && same(signature, hmac('sha512', secret, `${id}.${time}.`, body).digest('base64'));
  },
};

// Standard Webhooks with Ed25519: `v1a,` and the signature of `id.time.body`, beside others while a key is being replaced.
function isSignedByPair(publicKey, headers, body) {
  const { 'webhook-id': id, 'webhook-timestamp': time, 'webhook-signature': signatures } = headers;
  const x = Buffer.from(publicKey.slice('whpk_'.length), 'base64').toString('base64url');
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  const signed = Buffer.concat([Buffer.from(`${id}.${time}.`), body]);
  const isRecent = Math.abs(Date.now() / 1000 - Number(time)) <= 300;
  const isGenuine = ([version, signature]) =>
    version === 'v1a' && isSignedBy(null, signed, key, Buffer.from(signature, 'base64'));
  return isRecent && signatures.split(' ').some((one) => isGenuine(one.split(',')));
}

function hmac(hash, secret, ...parts) {
  return parts.reduce((hmac, part) => hmac.update(part), createHmac(hash, secret));
}

// By their hashes, since timingSafeEqual throws on unequal lengths, and the length of a password is told to nobody.
function same(given, expected) {
  const digest = (text) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given ?? ''), digest(expected));
}
