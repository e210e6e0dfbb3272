"""The script of dev/compose.yaml that makes the admin account, on a real Synapse with this project's own Python."""

import json
import subprocess
from pathlib import Path

import pytest

from dev.servers.daprd import ROOT
from dev.servers.synapse import Synapse
from dev.toolchain import synapse_python

pytestmark = pytest.mark.real


def test_the_script_makes_an_admin_without_a_rate_limit_once(running_synapse: Synapse, tmp_path: Path) -> None:
    config, target = next(running_synapse.token_file.parent.glob("*/homeserver.yaml")), tmp_path / "secrets.json"
    command = [str(synapse_python(print)), str(ROOT / "dev" / "compose" / "admin.py"), str(config)]
    for _ in range(2):  # the second time it does nothing: a second account of that name would be refused
        done = subprocess.run(
            [*command, running_synapse.url, "compose-admin", str(target)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    token = json.loads(target.read_text())["realtime-chat-service-secret"]["MATRIX_ADMIN_TOKEN"]
    limit = "/_synapse/admin/v1/users/@compose-admin:staging.nova.app/override_ratelimit"
    assert running_synapse.admin("GET", limit, token=token).json() == {"messages_per_second": 0, "burst_count": 0}
