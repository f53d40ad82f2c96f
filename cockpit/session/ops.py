"""The ops of the session protocol, by what they may do. What stands in neither set does not exist."""

from __future__ import annotations

from cockpit.model.view import Who
from cockpit.plan.steps import Refused

OBSERVING = frozenset(
    {
        "who", "snapshot", "changes", "plan", "direct", "action", "instance", "revisions", "artifacts", "artifact",
        "artifact_rows", "logs", "export", "twin", "plugins", "schedules", "tokens", "identities", "authority", "ssh",
        "approvals", "approval", "source",
        "rehearse",
        "alerts",
        "metrics", "loads", "traffic",
        "explain", "timeline", "journal", "revision_diff", "instance_at",
        "moments", "past", "past_step", "between", "lives",
        "about", "advice",
    }
)
"""The only ops that exist on the view socket, and for a client that asked for read-only."""

CHANGING = frozenset(
    {
        "submit", "token", "token_withdraw", "revoke", "ssh_answer", "artifact_add", "artifact_build",
        "artifact_collect", "artifact_patch", "artifact_sign", "end", "exec", "plugin_push", "plugin_remove",
        "approve", "refuse",
        "user_action",
        "alert_ack", "alert_silence", "alert_unsilence", "alert_test",
        "shell", "shell_type", "shell_took", "shell_resize", "shell_end",
        "copy", "copy_send", "copy_took", "copy_end",
        "forward", "forward_tell",
    }
)

OPERATORS = ("submit", "approve", "refuse")
"""What changes something and exists on the operators' socket: guards hold for these. Whoever may run any command on
hosts, or end the controller, is not held by them."""


STREAMS = frozenset(
    {"changes", "logs", "past", "artifact_build", "exec", "plugin_push", "plugin_remove", "loads", "rehearse",
     "shell", "copy", "forward"}
)
"""Those of both that answer with many items."""


def permit(op: str, who: Who) -> None:
    """Raises Refused when this person may not call it. What is not known to be harmless is not."""
    if op not in OBSERVING and who.read_only:
        raise Refused(f"{op} is refused: {who.read_only}")
    if op not in OBSERVING and who.ops is not None and op not in who.ops:
        known = ", ".join(who.ops)
        raise Refused(f"{op} is refused: the operators' socket is for {known}; ask the controller's owner")
