"""Deterministic simulation: several pods of the real code, one state store, one Synapse, one Kafka, in virtual time.

A seed decides everything: the events, the faults, and the order in which things happen. After each run, an oracle that knows
the documentation and not the code says whether every account is as the events ask for. See __main__.py for the command.
"""
