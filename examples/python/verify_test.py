import datetime
import hashlib
import hmac
import json
import pathlib
import unittest
from base64 import b64encode
from unittest import mock

from verify import VERIFY, is_genuine
from werkzeug.datastructures import Headers

CORPUS = pathlib.Path(__file__).parents[2] / "tests" / "corpus" / "signatures.json"
NOW = 1_790_000_000
SECRET = "correct-horse-battery-staple-42"
BODY = '{"name":"Zürich – 30 °"}'


def sign(algorithm: str, text: str) -> bytes:
    return hmac.new(SECRET.encode(), text.encode(), getattr(hashlib, algorithm)).digest()


# A request of each profile: those of the corpus, and of profiles that are not in it what their documents demand.
OTHERS = {
    "github": {"X-Hub-Signature-256": "sha256=" + sign("sha256", BODY).hex()},
    "shopify": {"X-Shopify-Hmac-Sha256": b64encode(sign("sha256", BODY)).decode()},
    "stripe": {"Stripe-Signature": f"t={NOW},v1=" + sign("sha256", f"{NOW}.{BODY}").hex()},
    "acme": {
        "X-Acme-Id": "a",
        "X-Acme-Time": str(NOW),
        "X-Acme-Signature": b64encode(sign("sha512", f"a.{NOW}.{BODY}")).decode(),
    },
}
VECTORS = json.loads(CORPUS.read_text(encoding="utf-8")) + [
    {"profile": profile, "secret": SECRET, "body": BODY, "headers": headers, "url": ""}
    for profile, headers in OTHERS.items()
]


class At(datetime.datetime):
    """A clock for the package, which asks the system's."""

    instant = 0.0

    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(cls.instant, tz)


def at(instant: float):
    At.instant = instant
    return mock.patch.multiple("standardwebhooks.webhooks", datetime=At), mock.patch("time.time", lambda: instant)


class Verify(unittest.TestCase):
    def ask(self, vector, later=0.0, **changed):
        sent = float(vector["headers"].get("webhook-timestamp", NOW))
        given = {"secrets": [vector["secret"]], **vector, **changed}
        package, system = at(sent + later)
        with package, system:
            return is_genuine(
                given["profile"], given["secrets"], Headers(given["headers"]), given["body"].encode(), given["url"]
            )

    def test_what_is_genuine_and_what_is_not(self):
        for profile in set(VERIFY) - {"smartech"}:
            vectors = [vector for vector in VECTORS if vector["profile"] == profile]
            self.assertTrue(vectors)
            for vector in vectors:
                with self.subTest(profile=profile):
                    self.judge(vector)

    def judge(self, vector):
        secret, body, headers = vector["secret"], vector["body"], vector["headers"]
        other = secret[:-5] + "AAAA="
        self.assertTrue(self.ask(vector))
        self.assertTrue(self.ask(vector, secrets=[other, secret]), "while it is replaced")
        self.assertFalse(self.ask(vector, secrets=[other]))
        self.assertFalse(self.ask(vector, body=body + "\n"))
        name, given = list(headers.items())[-1]
        for bad in ("", given[4:], given[:-1], "x" + given, given.upper(), "é"):
            self.assertFalse(self.ask(vector, headers={**headers, name: bad}), bad)
        self.assertFalse(self.ask(vector, headers={}))
        if vector["profile"] == "insightarc":
            self.assertFalse(self.ask(vector, url=vector["url"].lower() + "/"))
        if vector["profile"] in ("standard", "stripe", "acme"):
            self.assertFalse(self.ask(vector, later=301), "five minutes later")

    def test_credentials_are_compared_whatever_their_length(self):
        def ask(*authorization):
            headers = Headers([("Authorization", value) for value in authorization])
            return is_genuine("smartech", ["shop:hunter22"], headers, b"")

        self.assertTrue(ask("Basic c2hvcDpodW50ZXIyMg=="))
        for bad in ("", "Basic", "Basic c2hvcDpodW50ZXIyMw==", "c2hvcDpodW50ZXIyMg==", "Bearer hunter22", "é"):
            self.assertFalse(ask(bad), bad)
        self.assertFalse(ask())


if __name__ == "__main__":
    unittest.main()
