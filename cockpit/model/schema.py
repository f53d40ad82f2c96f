"""The JSON schema of the topology file, for editors. Derived from the table in `fields`."""

from __future__ import annotations

from cockpit.model.fields import FILE, GROUP, SERVICE, TREE_NODE
from cockpit.model.kinds import Doc

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> Doc:
    """Draft 2020-12. What holds between the parts (names, room, cycles) is beyond it: `check` says that."""
    group, service = GROUP.schema(), SERVICE.schema()
    return {
        "$schema": DRAFT,
        "title": "Cockpit topology",
        "description": "What should run where: regions, hosts, and the service tree.",
        **FILE.schema(),
        "$defs": {
            "group": group,
            "service": service,
            # one branch only, so that an editor complains about the one that was meant
            TREE_NODE.name: {
                "if": {"type": "object", "required": ["children"]},
                "then": {"$ref": "#/$defs/group"},
                "else": {"$ref": "#/$defs/service"},
            },
        },
    }
