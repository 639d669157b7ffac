import socket

import pytest

from facemend.web.guard import Guard


@pytest.mark.parametrize(
    ("listening", "host", "answered"),
    [
        ("127.0.0.1", "127.0.0.1:8000", True),
        ("127.0.0.1", "LOCALHOST", True),
        ("::1", "[::1]:8000", True),
        ("::1", "[::1]", True),
        ("localhost", "127.0.0.2:1", True),
        ("127.0.0.1", "192.0.2.7:8000", False),
        ("127.0.0.1", "evil.example", False),
        ("127.0.0.1", "localhost.evil.example", False),
        ("0.0.0.0", "192.0.2.7:8000", True),
        ("0.0.0.0", "[2001:db8::1]:8000", True),
        ("0.0.0.0", "evil.example:8000", False),
        ("0.0.0.0", f"{socket.gethostname().upper()}:8000", True),
        ("0.0.0.0", f"{socket.gethostname()}.local:8000", True),
        ("photos.example", "photos.example:8000", True),
        ("photos.example", "evil.example", False),
    ],
)
def test_a_host_is_a_name_of_this_machine(listening, host, answered):
    guard = Guard(None, listening)
    scope = {"type": "http", "method": "GET", "headers": [(b"host", host.encode())], "query_string": b""}
    scope["server"] = ("192.0.2.7", 8000)
    refusal = guard._refusal(scope)
    needs_token = refusal is not None and b"token" in refusal.body
    assert (refusal is None or needs_token) is answered
    assert needs_token is (answered and bool(guard.token))


def test_only_what_others_can_reach_has_a_token():
    assert not any(Guard(None, host).token for host in ("127.0.0.1", "::1", "localhost"))
    tokens = {Guard(None, host).token for host in ("0.0.0.0", "::", "192.0.2.7", "photos.example")}
    assert len(tokens) == 4
    assert "" not in tokens
