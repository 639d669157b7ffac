"""A health check of the server on this machine: `python healthy.py READY BUSY` (see docs/supervision.md).

The exit code is 0 if the server's status is one of those given. Otherwise it is 1, with one line on stderr. The HTTP
status is no health check: if its worker is dead, Cog's server still answers 200 but refuses every call.
"""

import http.client
import json
import os
import sys

TIMEOUT = 15  # seconds; the server itself waits up to 10 for its worker


def main() -> None:
    """Check once."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT", "5000")), timeout=TIMEOUT)
    try:
        connection.request("GET", "/health-check")
        status = json.load(connection.getresponse())["status"]
    except OSError as error:
        sys.exit(f"the server does not answer: {error}")
    if status not in sys.argv[1:]:
        sys.exit(f"the server is {status}, not {' or '.join(sys.argv[1:])}")


if __name__ == "__main__":
    main()
