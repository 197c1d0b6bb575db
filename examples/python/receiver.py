"""Receives the webhooks of Tharsis, verifies each, and prints one line of JSON for each that is genuine.

    PORT=9443 TLS_CERT=server.pem TLS_KEY=server.key WEBHOOK_SECRET=... python receiver.py

HOST is 127.0.0.1 unless given; PORT=0 takes any free port. Tharsis speaks to HTTPS only. The server of Flask is for
trying things out; in production the same `app` stands behind a WSGI server.
"""

import hashlib
import hmac
import os
import ssl
import sys
import threading

from flask import Flask, request
from werkzeug.serving import make_server

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 102_400

# Requests are served in threads; without this two lines can become one.
one_at_a_time = threading.Lock()


def verify(secret: str, body: bytes, header: str | None) -> bool:
    """Whether `header`, the value of X-Mars-Signature, belongs to these bytes.

    The bytes as they came, before anything parses them: json.dumps would not write the same ones again.
    """
    expected = "sha1=" + hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()
    # As bytes, because compare_digest refuses text that is not ASCII, and a header can hold anything.
    return hmac.compare_digest(expected.encode(), (header or "").encode())


@app.route("/", defaults={"path": ""}, methods=["HEAD"])
@app.route("/<path:path>", methods=["HEAD"])
def check(path: str):
    """Registration asks with one HEAD request whether somebody is there, and wants exactly 200."""
    return "", 200


@app.route("/", defaults={"path": ""}, methods=["POST"])
@app.route("/<path:path>", methods=["POST"])
def receive(path: str):
    body = request.get_data()
    if not verify(os.environ["WEBHOOK_SECRET"], body, request.headers.get("X-Mars-Signature")):
        return {"error": "bad signature"}, 401
    # Take it down first and answer at once: the work comes later, since the sender waits three seconds and no longer.
    # An event can come twice; whoever must act once remembers its id.
    with one_at_a_time:
        print(body.decode(), flush=True)  # compact JSON: one line
    return "", 200


def main() -> None:
    try:
        certificate, key = os.environ["TLS_CERT"], os.environ["TLS_KEY"]
        os.environ["WEBHOOK_SECRET"]
    except KeyError:
        sys.exit("set TLS_CERT and TLS_KEY (files in PEM) and WEBHOOK_SECRET")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "9443"))
    server = make_server(host, port, app, threaded=True, ssl_context=tls)
    print(f"listening on https://{host}:{server.port}", file=sys.stderr, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
