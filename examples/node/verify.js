import { createHmac, timingSafeEqual } from 'node:crypto';

/**
 * Whether `header`, the value of X-Mars-Signature, belongs to the event `body` as Express parsed it.
 *
 * The documented method signs what JSON.stringify makes of the parsed body. Tharsis writes its bodies so that this
 * gives back exactly the bytes that were sent, so hashing the raw body would do as well.
 */
export function verify(secret, body, header) {
  const expected = Buffer.from(`sha1=${createHmac('sha1', secret).update(JSON.stringify(body)).digest('hex')}`);
  const given = Buffer.from(header ?? '');
  // timingSafeEqual throws on unequal lengths. The length is no secret: it is the same for every signature.
  return given.length === expected.length && timingSafeEqual(given, expected);
}
