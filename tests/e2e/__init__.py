"""From Prometheus through Alertmanager to an engine, with all of them real but the hardware."""
