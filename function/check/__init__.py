"""What `check` looks at: each file has the checks of one dependency. Prints nothing; changes no user's account."""
