"""Publishes in the engine's own PostgreSQL transaction: the decision and the events that tell of it, or none of it.

    THARSIS_DATABASE_URL=$DATABASE_URL tharsis migrate --key-file tharsis.key      (once, as the owner)
    DATABASE_URL=postgres://engine@localhost/shop python publish.py events.ndjson

Reads events from the file, or from standard input, one JSON document a line, and prints the id of each. With --rollback it
changes its mind at the end, and nobody ever hears of them. The role needs EXECUTE on tharsis.publish and USAGE on its schema.
"""

import argparse
import json
import os
import sys

import psycopg

PUBLISH = """
    SELECT tharsis.publish(%(type)s, %(client)s, %(payload)s, key => %(key)s, campaign => %(campaign)s,
                           recipient => %(recipient)s, not_before => %(not_before)s, expires_at => %(expires_at)s)
"""


def event(line: str) -> dict:
    """The arguments for one line: an event of Mars as it is, any other in its envelope."""
    document = json.loads(line)
    optional = ("key", "campaign", "recipient", "not_before", "expires_at")
    if "payload" in document:
        # As text: jsonb would forget the order of keys.
        payload = json.dumps(document["payload"], ensure_ascii=False)
        given = {name: document.get(name) for name in optional}
        return {**given, "type": document["type"], "client": document["client"], "payload": payload}
    return {**dict.fromkeys(optional), "type": document["type"], "client": document["clientId"], "payload": line}


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("file", nargs="?", type=argparse.FileType(encoding="utf-8"), default=sys.stdin)
    arguments.add_argument("--rollback", action="store_true")
    options = arguments.parse_args()
    events = [event(line.strip()) for line in options.file if line.strip()]

    with psycopg.connect(os.environ["DATABASE_URL"]) as engine:
        with engine.transaction(force_rollback=options.rollback):
            # What the engine itself writes down goes here, in the same transaction.
            ids = [engine.execute(PUBLISH, one).fetchone()[0] for one in events]
    for id in ids:
        print(id)


if __name__ == "__main__":
    main()
