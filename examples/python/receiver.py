"""Receives the webhooks of Tharsis, verifies each, and prints one line of JSON for each that is genuine.

    PORT=9443 TLS_CERT=server.pem TLS_KEY=server.key WEBHOOK_SECRET=... python receiver.py --profile nudge

The profile is mars unless given; verify.py has them all. HOST is 127.0.0.1 unless given; PORT=0 takes any free port.
WEBHOOK_NEXT_SECRET is believed too: set it before the sender rotates. For insightarc WEBHOOK_URL is the URL exactly as it
was registered; for smartech WEBHOOK_SECRET is `user:password`. Tharsis speaks to HTTPS only. The server of Flask is for
trying things out; in production the same `app` stands behind a WSGI server.
"""

import argparse
import json
import os
import ssl
import sys
import threading
from urllib.parse import parse_qs

from flask import Flask, request
from verify import VERIFY, is_genuine
from werkzeug.serving import make_server

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 262_144
app.config["PROFILE"] = "mars"

# What names an event, the same whenever it is sent to be taken once. Here it is remembered while this process lives; a table would do better.
NAMES = {
    "nudge": "X-Idempotent-Key",
    "standard": "Webhook-Id",
    "github": "X-GitHub-Delivery",
    "shopify": "X-Shopify-Event-Id",
    "acme": "X-Acme-Id",
}
seen: set[str] = set()

# Requests are served in threads; without this two lines can become one.
one_at_a_time = threading.Lock()


@app.route("/", defaults={"path": ""}, methods=["HEAD"])
@app.route("/<path:path>", methods=["HEAD"])
def check(path: str):
    """Registration asks with one HEAD request whether somebody is there, and wants exactly 200."""
    return "", 200


@app.route("/", defaults={"path": ""}, methods=["POST"])
@app.route("/<path:path>", methods=["POST"])
def receive(path: str):
    profile, body = app.config["PROFILE"], request.get_data()
    secrets = filter(None, map(os.environ.get, ("WEBHOOK_SECRET", "WEBHOOK_NEXT_SECRET")))
    if not is_genuine(profile, secrets, request.headers, body, os.environ.get("WEBHOOK_URL", "")):
        return {"error": "not genuine"}, 403 if profile == "nudge" else 401
    # Take it down first and answer at once: the work comes later, since the sender does not wait for it. An event can come
    # twice; whoever must act once remembers its name.
    line = items(body) if profile == "smartech" else body.decode()  # compact JSON: one line
    name = request.headers.get(NAMES[profile]) if profile in NAMES else None
    with one_at_a_time:
        if name in seen:
            print(f"again: {name}", file=sys.stderr, flush=True)
        else:
            print(line, flush=True)
        if name:
            seen.add(name)
    return "", 200


def items(body: bytes) -> str:
    """What $_POST['data'] is to PHP, read as JSON."""
    [data] = parse_qs(body.decode(), strict_parsing=True)["data"]
    return json.dumps(json.loads(data), ensure_ascii=False)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--profile", choices=VERIFY, default="mars")
    app.config["PROFILE"] = arguments.parse_args().profile
    needed = ["TLS_CERT", "TLS_KEY", "WEBHOOK_SECRET"] + ["WEBHOOK_URL"] * (app.config["PROFILE"] == "insightarc")
    missing = [name for name in needed if not os.environ.get(name)]
    if missing:
        sys.exit(f"set {', '.join(missing)}; TLS_CERT and TLS_KEY are files in PEM")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(os.environ["TLS_CERT"], os.environ["TLS_KEY"])
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "9443"))
    server = make_server(host, port, app, threaded=True, ssl_context=tls)
    print(f"listening on https://{host}:{server.port}", file=sys.stderr, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
