"""Finds or builds the parts of a cluster without nodes: etcd, the API server and the controllers, Dapr's control plane
and its chart, helm and kubectl. Starts nothing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from dev.processes import StackError
from dev.steps import Say
from dev.toolchain import DEV, TOOLS, daprd, go_program, kafka_jars, need, synapse_python

KUBECTL = Path(sys.executable).parent / "kubectl"
KUBERNETES = "1.37.2"  # as in dev/go/kubernetes/go.mod
_VERSION = "k8s.io/component-base/version"
_MAJOR, _MINOR, _ = KUBERNETES.split(".")
_LINK = f"-X {_VERSION}.gitVersion=v{KUBERNETES} -X {_VERSION}.gitMajor={_MAJOR} -X {_VERSION}.gitMinor={_MINOR}"


def etcd(say: Say) -> Path:
    if found := shutil.which("etcd"):
        return Path(found)
    return go_program("kubernetes", ["go.etcd.io/etcd/server/v3"], TOOLS / "etcd", say)


def kubernetes(program: str, say: Say) -> Path:
    """Returns `kube-apiserver` or `kube-controller-manager`, with the version linked in, on which clients rely."""
    return go_program("kubernetes", [f"k8s.io/kubernetes/cmd/{program}"], TOOLS / program, say, _LINK)


def dapr(program: str, say: Say) -> Path:
    """Returns `sentry`, `operator` or `injector`."""
    package = f"github.com/dapr/dapr/cmd/{program}"
    return go_program("dapr-control-plane", [package], TOOLS / f"dapr-{program}", say)


def helm(say: Say) -> Path:
    return go_program("helm", ["helm.sh/helm/v3/cmd/helm"], TOOLS / "helm", say)


def dapr_source() -> Path:
    """Returns Dapr's source, which holds its chart and the annotations that the injector knows."""
    return module_folder("dapr-control-plane", "github.com/dapr/dapr")


def module_folder(pinned_by: str, module: str) -> Path:
    """Returns the folder with the source of a module that dev/go/PINNED_BY pins; fetches it if it is missing."""
    need("go", "Go 1.24 or later (https://go.dev/doc/install)")
    command = ["go", "mod", "download", "-json", module]
    environment = os.environ | {"GOFLAGS": "-mod=readonly"}
    folder = DEV / "go" / pinned_by
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    if done.returncode:
        raise StackError(f"the source of {module} can't be fetched: {done.stdout}{done.stderr}")
    return Path(json.loads(done.stdout)["Dir"])


def everything(say: Say) -> None:
    """Makes all tools one after the other (each build uses every core), including daprd, Kafka and Synapse."""
    for make in (daprd, kafka_jars, synapse_python):
        make(say)
    etcd(say)
    for program in ("kube-apiserver", "kube-controller-manager"):
        kubernetes(program, say)
    for program in ("sentry", "operator", "injector"):
        dapr(program, say)
    helm(say)
    for module in (
        "github.com/kedacore/keda/v2",
        "github.com/external-secrets/external-secrets",
        "github.com/prometheus-operator/prometheus-operator",
    ):
        say(f"finding or fetching the source of {module} (seconds)")
        module_folder("crds", module)
