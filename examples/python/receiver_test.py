import json
import pathlib
import unittest

import receiver

CORPUS = pathlib.Path(__file__).parents[2] / "tests" / "corpus" / "signatures.json"
VECTORS = [v for v in json.loads(CORPUS.read_text(encoding="utf-8")) if v["profile"] == "mars"]


class Verify(unittest.TestCase):
    def test_every_vector_is_genuine(self):
        self.assertTrue(VECTORS)
        for v in VECTORS:
            self.assertTrue(receiver.verify(v["secret"], v["body"].encode(), v["headers"]["X-Mars-Signature"]))

    def test_a_changed_body_another_secret_and_a_bad_header_are_not(self):
        for v in VECTORS:
            secret, body, header = v["secret"], v["body"].encode(), v["headers"]["X-Mars-Signature"]
            self.assertFalse(receiver.verify(secret, body + b"\n", header))
            self.assertFalse(receiver.verify(secret + "x", body, header))
            for bad in (None, "", "sha1=", header[5:], header[:-1], header + " ", header.upper(), "sha1=é"):
                self.assertFalse(receiver.verify(secret, body, bad))


if __name__ == "__main__":
    unittest.main()
