"""Creates Synapse's admin account for dev/compose.yaml, and writes its token as Dapr's local.file secret store reads it.

Runs in Synapse's image, so it needs nothing but Python and Synapse: `admin.py HOMESERVER_YAML URL USER SECRETS_FILE`. Does nothing if the
file is there.
"""

import json
import secrets
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote


def post(url: str, body: dict[str, Any], token: str = "") -> dict[str, Any]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def main(config: str, url: str, user: str, target: str) -> None:
    file, password = Path(target), secrets.token_hex(16)
    if file.exists():
        return
    module = "synapse._scripts.register_new_matrix_user"
    subprocess.run([sys.executable, "-m", module, "-c", config, "-u", user, "-p", password, "-a", url], check=True)
    name = {"type": "m.id.user", "user": user}
    session = post(
        f"{url}/_matrix/client/v3/login", {"type": "m.login.password", "identifier": name, "password": password}
    )
    limit = f"{url}/_synapse/admin/v1/users/{quote(session['user_id'])}/override_ratelimit"
    post(limit, {"messages_per_second": 0, "burst_count": 0}, session["access_token"])
    file.write_text(json.dumps({"realtime-chat-service-secret": {"MATRIX_ADMIN_TOKEN": session["access_token"]}}))


if __name__ == "__main__":
    main(*sys.argv[1:])
