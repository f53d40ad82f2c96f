"""The ops of the session protocol, by what they may do. What stands in neither set does not exist."""

from __future__ import annotations

OBSERVING = frozenset(
    {
        "who", "snapshot", "changes", "plan", "action", "instance", "revisions", "artifacts", "artifact",
        "artifact_rows", "logs", "export", "twin", "plugins", "schedules", "tokens", "identities", "authority", "ssh",
    }
)
"""The only ops that exist on the view socket, and for a client that asked for read-only."""

CHANGING = frozenset(
    {
        "submit", "token", "token_withdraw", "revoke", "ssh_answer", "artifact_add", "artifact_build",
        "artifact_collect", "artifact_patch", "artifact_sign", "end", "exec", "plugin_push", "plugin_remove",
    }
)
