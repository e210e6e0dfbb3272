"""What this project relies on in Matrix Authentication Service (MAS), in plain HTTP.

Runs against the stand-in before a real Synapse; with MAS_URL set, against a real MAS. See dev/servers/mas_stand_in/README.md.
"""
