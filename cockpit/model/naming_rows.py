"""Rows of the naming registry."""

from __future__ import annotations

from cockpit.model.actual import Endpoint
from cockpit.model.view import EndpointRow


def endpoint_row(endpoint: Endpoint) -> EndpointRow:
    why = endpoint.why if not endpoint.by else f"{endpoint.why} by {endpoint.by}".strip()
    return EndpointRow(
        service=endpoint.service, address=endpoint.address, port=endpoint.port, state=endpoint.state,
        attributes=endpoint.attributes, instance=endpoint.instance, name=endpoint.name,
        since=endpoint.since, why=why,
    )  # fmt: skip
