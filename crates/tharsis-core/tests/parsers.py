"""Reads URLs as RFC 3986 has it, which leaves paths as they are. Each line says what we make of one."""

import json
import sys
from urllib.parse import urlsplit

read, otherwise = 0, []
for line in sys.stdin.buffer.read().decode().splitlines():
    case = json.loads(line)
    for text in (case["given"], case["canonical"]):
        try:
            url = urlsplit(text)
            # What stands behind the authority, with the slash that an empty path is sent as.
            target = text.split("//", 1)[1][len(url.netloc):] if text is case["given"] else case["target"]
            bare = url.path + (f"?{url.query}" if "?" in text else "")
            same = (
                (url.scheme, url.hostname, url.port or 443) == ("https", case["host"], case["port"])
                and bare == target
                and url.username is None and url.password is None and not url.fragment
            )
        except ValueError as error:
            same, url = False, error
        if not same and len(otherwise) < 5:
            otherwise.append([text, str(url), case["canonical"]])
    read += 1
print(json.dumps({"read": read, "otherwise": otherwise}))
