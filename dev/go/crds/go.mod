module crds

go 1.26.0

require (
	github.com/external-secrets/external-secrets v0.18.2
	github.com/kedacore/keda/v2 v2.17.0
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
