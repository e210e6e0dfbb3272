"""The function's clients where MAS owns the accounts: a real Synapse that delegates to the stand-in for MAS."""
