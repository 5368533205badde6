"""What the server counts, for Prometheus; one registry a server, so that two in a process do not mix."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

WAITS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.45, 0.7, 1.0, 2.0, 5.0)     # seconds: bounds of a histogram


class Metrics:
    """Counters, gauges and histograms of one server."""

    def __init__(self, held: Callable[[], int], room: Callable[[], int]) -> None:
        """held: how many conversations the models hold now; room: how many sessions they can."""
        registry = self.registry = CollectorRegistry()
        self.sessions = Gauge("omni_sessions", "Realtime sessions that are open", registry=registry)
        places = Gauge("omni_sessions_limit", "Realtime sessions that there is room for in all", registry=registry)
        places.set_function(room)
        conversations = Gauge(
            "omni_conversations", "Conversations that the models hold, of sessions and of HTTP requests",
            registry=registry,
        )  # fmt: skip
        conversations.set_function(held)
        self.waits = Histogram(
            "omni_first_output_seconds", "From the end of a turn, or the order to answer, to its first sound or text",
            buckets=WAITS, registry=registry,
        )  # fmt: skip
        self.refused = Counter("omni_refused", "Connections that were refused", ["why"], registry=registry)
        self.events = Counter("omni_client_events", "Client events by type", ["type"], registry=registry)
        self.errors = Counter("omni_errors", "Error events that were sent", ["code"], registry=registry)
        self.responses = Counter("omni_responses", "Responses by how they ended", ["status"], registry=registry)
        self.requests = Counter("omni_requests", "HTTP requests", ["path", "status"], registry=registry)
        self.deaths = Counter("omni_model_deaths", "Times that a session lost its model's process", registry=registry)
