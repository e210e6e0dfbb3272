"""Runs a broker with three listeners: plaintext for the test itself, a password over TLS, and a client certificate. One
self-signed certificate serves as authority, server and client certificate."""

import subprocess
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)

from dev.processes import free_port
from dev.servers.kafka import Kafka
from dev.steps import Say

USER, PASSWORD = "matrix-account-sync", "a-password-of-a-test"

# The last line with a name wins, so these replace the settings of the local stack's broker.
DOORS = """
listeners=PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller},SASL_SSL://127.0.0.1:{sasl},SSL://127.0.0.1:{mtls}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{sasl},SSL://127.0.0.1:{mtls}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.ssl.ssl.client.auth=required
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=true
ssl.keystore.type=PEM
ssl.keystore.location={both}
ssl.truststore.type=PEM
ssl.truststore.location={certificate}
"""


class SecureKafka(Kafka):
    """The broker.

    Args:
        folder: for data, certificate, log and pid file.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, free_port(), free_port(), 2)
        self.sasl_port, self.mtls_port = free_port(), free_port()
        self.key, self.certificate = folder / "user.key", folder / "ca.crt"

    def start(self, say: Say = print) -> None:
        super().start(say)
        self.add_user(USER, PASSWORD)

    def add_user(self, name: str, password: str = "") -> None:
        """Gives a user a password, the name unless it is given."""
        known = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        self._alter(UserScramCredentialUpsertion(name, known, (password or name).encode()))

    def remove_user(self, name: str) -> None:
        """Takes a user's password away."""
        self._alter(UserScramCredentialDeletion(name, ScramMechanism.SCRAM_SHA_512))

    def _alter(self, wanted: UserScramCredentialAlteration) -> None:
        client = AdminClient({"bootstrap.servers": self.brokers, "log_level": 0})
        for future in client.alter_user_scram_credentials([wanted]).values():
            future.result(30)

    def grant(
        self,
        kind: ResourceType,
        name: str,
        operation: AclOperation,
        permission: AclPermissionType = AclPermissionType.ALLOW,
    ) -> None:
        """Adds a rule for the user. With a first rule, whatever no rule allows is denied there."""
        client = AdminClient({"bootstrap.servers": self.brokers, "log_level": 0})  # kept until its answer is there
        rule = AclBinding(kind, name, ResourcePatternType.LITERAL, f"User:{USER}", "*", operation, permission)
        [future] = client.create_acls([rule]).values()
        future.result(30)

    def revoke(self, kind: ResourceType, name: str) -> None:
        """Removes every rule for the user that names this resource."""
        client = AdminClient({"bootstrap.servers": self.brokers, "log_level": 0})
        rules = AclBindingFilter(
            kind, name, ResourcePatternType.LITERAL, f"User:{USER}", "*", AclOperation.ANY, AclPermissionType.ANY
        )
        [future] = client.delete_acls([rules]).values()
        future.result(30)

    def properties(self, folder: Path, *lines: str, door: str = "") -> Path:
        """Writes a file for KAFKA_CLIENT_CONFIG with the properties of a door, "sasl" or "mtls", and the given lines."""
        doors = {
            "": [],
            "sasl": ["security.protocol=SASL_SSL", "sasl.mechanism=SCRAM-SHA-512", f"sasl.username={USER}",
                     f"sasl.password={PASSWORD}", f"ssl.ca.location={self.certificate}"],
            "mtls": ["security.protocol=SSL", f"ssl.ca.location={self.certificate}",
                     f"ssl.certificate.location={self.certificate}", f"ssl.key.location={self.key}"],
        }  # fmt: skip
        path = folder / "kafka.properties"
        path.write_text("\n".join([*doors[door], *lines]))
        return path

    def _format(self) -> Path:
        properties = super()._format()
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=kafka"]
        files = ["-keyout", str(self.key), "-out", str(self.certificate), "-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run([*command, *files], capture_output=True, check=True)
        both = self.certificate.with_name("server.pem")
        both.write_text(self.key.read_text() + self.certificate.read_text())
        doors = DOORS.format(
            plain=self.port, controller=self._controller, sasl=self.sasl_port, mtls=self.mtls_port,
            both=both, certificate=self.certificate,
        )  # fmt: skip
        properties.write_text(properties.read_text() + doors)
        return properties
