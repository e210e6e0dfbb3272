"""The overlay of ten lines in docs/deploy.md, and the components that are added to it in the tests."""

from tests.manifests.deploy_page import scripts

(OVERLAY,) = scripts("An overlay of your own", "yaml")
EVERYTHING = ("keda", "keda-sasl", "monitoring", "external-secrets", "external-secrets-kafka")
