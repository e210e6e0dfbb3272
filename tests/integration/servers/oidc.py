"""Runs a small OpenID provider on loopback, which logs in the person that the test sets. Plain OAuth 2.0 with a userinfo
endpoint, which is all that Synapse needs."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit


@dataclass
class Provider:
    """A provider; `person` is the subject of the next login."""

    url: str = ""
    person: str = ""

    def homeserver(self, public_url: str) -> dict[str, Any]:
        """Returns the keys of homeserver.yaml that enable login with this provider, as the identity service's `oidc-nova`."""
        mapping = {"localpart_template": "nova-{{ user.sub }}", "display_name_template": "{{ user.name }}"}
        nova = {
            "idp_id": "nova", "idp_name": "Nova", "discover": False, "issuer": self.url, "skip_verification": True,
            "client_id": "synapse", "client_secret": "secret", "scopes": ["profile"],
            "authorization_endpoint": f"{self.url}/authorize", "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/userinfo", "user_profile_method": "userinfo_endpoint",
            "user_mapping_provider": {"config": mapping},
        }  # fmt: skip
        return {
            "oidc_providers": [nova], "public_baseurl": public_url, "sso": {"client_whitelist": ["http://127.0.0.1/"]},
        }  # fmt: skip


@contextmanager
def provider() -> Iterator[Provider]:
    made = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == "/authorize":
                asked = {name: values[0] for name, values in parse_qs(url.query).items()}
                self.send_response(302)
                self.send_header(
                    "Location", f"{asked['redirect_uri']}?{urlencode({'code': 'c', 'state': asked['state']})}"
                )
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self._say({"sub": made.person, "name": "From the provider"})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._say({"access_token": "t", "token_type": "Bearer"})

        def _say(self, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
