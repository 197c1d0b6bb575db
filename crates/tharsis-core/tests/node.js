// Judges frozen bodies as the documented receiver does. Each line of the file is: what was handed over, the frozen body
// (both in hex), the signature, and whether it should be believed.
const { createHmac, timingSafeEqual } = require('node:crypto');
const { readFileSync } = require('node:fs');

const [file, secret] = process.argv.slice(2);
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

// The method of the documented Express receiver: `body` is what express.json() made of the request.
function isBelieved(body, header) {
  const expected = Buffer.from('sha1=' + createHmac('sha1', secret).update(JSON.stringify(body)).digest('hex'));
  const given = Buffer.from(header);
  return expected.length === given.length && timingSafeEqual(expected, given);
}

let believed = 0, refused = 0, wrong = 0;
for (const line of readFileSync(file, 'latin1').trimEnd().split('\n')) {
  const [handedOver, frozen, signature, sound] = line.split(' ');
  const body = utf8.decode(Buffer.from(frozen, 'hex'));
  const parsed = JSON.parse(body);
  const faults = [];
  if (JSON.stringify(parsed) !== body) faults.push('the body does not survive the round trip');
  if (JSON.stringify(JSON.parse(utf8.decode(Buffer.from(handedOver, 'hex')))) !== body) faults.push('the body says something else than was handed over');
  if (isBelieved(parsed, signature) !== (sound === 'true')) faults.push('the verification is wrong');
  if (faults.length && wrong++ < 5) console.log(faults.join(', '), '\n', body.slice(0, 2000));
  sound === 'true' ? believed++ : refused++;
}
console.log(JSON.stringify({ believed, refused, wrong }));
