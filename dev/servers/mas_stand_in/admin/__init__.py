"""Serves MAS's admin API, `/api/admin/v1`."""
