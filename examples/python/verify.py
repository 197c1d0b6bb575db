"""How a receiver verifies what each profile sends, from the bytes as they came.

Before anything parses them: json.dumps would not write the same bytes again.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping

from standardwebhooks import Webhook, WebhookVerificationError


def is_genuine(profile: str, secrets: Iterable[str], headers: Mapping[str, str], body: bytes, url: str = "") -> bool:
    """Whether a request is genuine by any of these secrets: two of them while one is being replaced.

    `headers` do not care about case. `url` is where the webhook was registered, exactly as it was typed there.
    """
    return any(VERIFY[profile](secret, headers, body, url) for secret in secrets)


def mars(secret: str, headers: Mapping[str, str], body: bytes, url: str) -> bool:
    return same(headers.get("X-Mars-Signature"), "sha1=" + mac("sha1", secret, body).hex())


def insightarc(secret: str, headers: Mapping[str, str], body: bytes, url: str) -> bool:
    return same(headers.get("X-InsightArc-Signature"), base64_of(mac("sha1", secret, body + url.encode())))


def nudge(secret: str, headers: Mapping[str, str], body: bytes, url: str) -> bool:
    return same(headers.get("X-Nudge-Signature"), mac("sha256", secret, body).hex())


def smartech(secret: str, headers: Mapping[str, str], body: bytes, url: str) -> bool:
    """Nothing is signed. The secret is what the sender was given as credentials: `user:password`."""
    return same(headers.get("Authorization"), "Basic " + base64_of(secret.encode()))


def standard(secret: str, headers: Mapping[str, str], body: bytes, url: str) -> bool:
    try:
        Webhook(secret).verify(body, dict(headers), json_parse=False)
    except (WebhookVerificationError, ValueError):  # ValueError: a header that is no list of signatures
        return False
    return True


def github(secret: str, headers: Mapping[str, str], body: bytes, url: str) -> bool:
    return same(headers.get("X-Hub-Signature-256"), "sha256=" + mac("sha256", secret, body).hex())


def shopify(secret: str, headers: Mapping[str, str], body: bytes, url: str) -> bool:
    return same(headers.get("X-Shopify-Hmac-Sha256"), base64_of(mac("sha256", secret, body)))


def stripe(secret: str, headers: Mapping[str, str], body: bytes, url: str) -> bool:
    """`t=TIME,v1=SIGNATURE`, and a second v1 while a secret is being replaced."""
    fields = [field.partition("=") for field in headers.get("Stripe-Signature", "").split(",")]
    sent = next((value for name, _, value in fields if name == "t"), "")
    expected = mac("sha256", secret, sent.encode() + b"." + body).hex()
    return is_recent(sent) and any(same(value, expected) for name, _, value in fields if name == "v1")


def acme(secret: str, headers: Mapping[str, str], body: bytes, url: str) -> bool:
    """Declared by whoever runs Tharsis: HMAC-SHA512 over the id, the time and the body, with dots between."""
    id, sent = headers.get("X-Acme-Id", ""), headers.get("X-Acme-Time", "")
    expected = base64_of(mac("sha512", secret, f"{id}.{sent}.".encode() + body))
    return is_recent(sent) and same(headers.get("X-Acme-Signature"), expected)


VERIFY = {
    function.__name__: function
    for function in (mars, insightarc, nudge, smartech, standard, github, shopify, stripe, acme)
}


def mac(algorithm: str, secret: str, content: bytes) -> bytes:
    return hmac.digest(secret.encode(), content, algorithm)


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def same(given: str | None, expected: str) -> bool:
    """In constant time, of their hashes: so the length of a password is told to nobody, and a header can hold anything."""
    digests = (hashlib.sha256(text.encode()).digest() for text in (given or "", expected))
    return hmac.compare_digest(*digests)


def is_recent(sent: str) -> bool:
    """Whether this time, in seconds since 1970, is less than five minutes away."""
    return sent.isascii() and sent.isdigit() and abs(time.time() - int(sent)) <= 300
