"""Makes and checks the Grafana dashboard and the alerts."""
