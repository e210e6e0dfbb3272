"""One user: the state that events ask for, the plan to get there, and its reconciliation with the homeserver."""
