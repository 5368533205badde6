"""What the server counts, for Prometheus; one registry a server, so that two in a process do not mix."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class Metrics:
    """Counters, gauges and histograms of one server."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.sessions = Gauge("omni_sessions", "Realtime sessions that are open", registry=registry)
        self.refused = Counter("omni_refused", "Connections that were refused", ["why"], registry=registry)
        self.events = Counter("omni_client_events", "Client events by type", ["type"], registry=registry)
        self.errors = Counter("omni_errors", "Error events that were sent", ["code"], registry=registry)
        self.responses = Counter("omni_responses", "Responses by how they ended", ["status"], registry=registry)
        self.requests = Counter("omni_requests", "HTTP requests", ["path", "status"], registry=registry)
        self.deaths = Counter("omni_model_deaths", "Times that a session lost its model's process", registry=registry)
