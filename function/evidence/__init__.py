"""Evidence of what was changed: one message on the results topic for each change of an account."""
