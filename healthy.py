"""Whether this machine's server works, for what supervises it: `python healthy.py READY BUSY` (docs/supervision.md).

Exit code 0 if its status is one of those named, else 1 and one line on stderr. That the port answers says nothing: with
its worker dead, Cog's server goes on answering 200, and refuses every call.
"""

import http.client
import json
import os
import sys

PATIENCE = 15  # seconds; the server itself waits up to 10 for its worker


def main() -> None:
    """Ask once."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT", "5000")), timeout=PATIENCE)
    try:
        connection.request("GET", "/health-check")
        status = json.load(connection.getresponse())["status"]
    except OSError as error:
        sys.exit(f"the server does not answer: {error}")
    if status not in sys.argv[1:]:
        sys.exit(f"the server is {status}, not {' or '.join(sys.argv[1:])}")


if __name__ == "__main__":
    main()
