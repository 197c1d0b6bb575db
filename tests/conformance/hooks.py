"""What is registered leads to the receiver of the test, and to nobody else."""

import os

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    body = case.body
    if isinstance(body, dict) and str(body.get("url")).startswith("https://"):
        body["url"] = os.environ["RECEIVER"]
