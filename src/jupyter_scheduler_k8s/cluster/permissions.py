"""What this package does in its namespace, as the rights that it needs for it."""

from collections.abc import Mapping

# By group and resource; deploy/role.yaml grants the same, and says why. A test compares them.
NEEDED: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("batch", "jobs"): ("get", "list", "watch", "create", "patch", "delete"),
    ("batch", "cronjobs"): ("get", "list", "watch", "create", "patch", "delete"),
    ("batch", "cronjobs/status"): ("patch",),
    ("", "pods"): ("get", "list", "watch", "delete"),
    ("", "pods/log"): ("get",),
    ("", "events"): ("get", "list"),
    ("", "secrets"): ("create", "patch", "update", "delete"),
    ("", "resourcequotas"): ("get", "list"),
}
