"""docs/mas.md: its lines for Element's chart change what they say and nothing else, and its names are those of the manifests."""

import re

import pytest
import yaml

from dev.servers.mas_stand_in.identifiers import is_ulid
from function.settings import MAS_CLIENT_ID_KEY, MAS_CLIENT_SECRET_KEY
from tests.manifests.rendering import OVERLAYS, ROOT, dig, render
from tests.manifests.rules.names import settings_of
from tests.manifests.rules.optional import PROPERTIES

PAGE = (ROOT / "docs" / "mas.md").read_text()
BLOCKS = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def lines() -> dict[str, list[object]]:
    """The lines that an overlay gets for Element's chart."""
    (found,) = [block for block in BLOCKS if "patches" in block]
    return dict(found)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_lines_for_elements_chart_set_both_addresses_and_open_the_way(overlay: str) -> None:
    made, before = render(f"{overlay}+mas", lines=lines()), render(f"{overlay}+mas")
    settings = settings_of(made)
    assert settings
    assert str(settings.matrix_homeserver_url) == "http://ess-synapse.ess.svc:8008/"
    assert str(settings.matrix_mas_url) == "http://ess-matrix-authentication-service.ess.svc:8080/"
    changed = {one["kind"] for one, old in zip(made.documents, before.documents, strict=True) if one != old}
    # The ConfigMap's name has a hash, and the pods name it.
    assert changed == {"ConfigMap", "Deployment", "CronJob", *(["NetworkPolicy"] if before.of("NetworkPolicy") else [])}
    for policy in made.of("NetworkPolicy"):
        assert [port["port"] for port in dig(policy, "spec", "egress", -1, "ports")] == [8008, 8080]


def test_the_client_is_admitted_with_the_id_that_it_has() -> None:
    chart = next(block for block in BLOCKS if "matrixAuthenticationService" in block)
    (added,) = chart["matrixAuthenticationService"]["additional"].values()
    for config in (next(block for block in BLOCKS if "clients" in block), yaml.safe_load(added["config"])):
        (client,) = config["clients"]
        assert is_ulid(client["client_id"])
        assert config["policy"]["data"]["admin_clients"] == [client["client_id"]]


def test_the_page_names_the_keys_the_properties_and_the_address_of_the_component() -> None:
    for key in (MAS_CLIENT_ID_KEY, MAS_CLIENT_SECRET_KEY):
        assert f"--from-literal={key}=" in PAGE
        assert f"`{PROPERTIES['realtime-chat-service-secret', key]}`" in PAGE
    assert f"`{render('staging+mas').settings['MATRIX_MAS_URL']}`" in PAGE
    listener = next(block for block in BLOCKS if "http" in block)["http"]["listeners"][0]
    assert {one["name"] for one in listener["resources"]} >= {"oauth", "adminapi"}
    assert listener["binds"][0]["address"].endswith(":8081")
