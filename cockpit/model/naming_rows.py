"""Rows of the naming registry."""

from __future__ import annotations

from cockpit.model.actual import Actual, Endpoint
from cockpit.model.view import EndpointRow


def endpoint_key(endpoint: Endpoint) -> str:
    """`<unit>|<port name>`."""
    return f"{endpoint.unit}|{endpoint.name}"


def endpoint_row(endpoint: Endpoint) -> EndpointRow:
    why = endpoint.why if not endpoint.by else f"{endpoint.why} by {endpoint.by}".strip()
    return EndpointRow(
        service=endpoint.service, address=endpoint.address, port=endpoint.port, state=endpoint.state,
        attributes=endpoint.attributes, instance=endpoint.instance, name=endpoint.name,
        since=endpoint.since, why=why,
    )  # fmt: skip


def endpoint_rows(actual: Actual) -> dict[str, EndpointRow]:
    """All endpoints by key, sorted by service, instance and port name."""
    ordered = sorted(actual.endpoints, key=lambda e: (e.service, e.instance, e.unit, e.name))
    return {endpoint_key(e): endpoint_row(e) for e in ordered}
