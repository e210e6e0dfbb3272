"""Computes the size of a deployment for 100 million users from the measured figures. Pure."""

import math
from datetime import UTC, datetime

from benchmarks.matrix import Figures, Results
from benchmarks.systems import LOAD, OURS
from function.accounts.user_state import UserState
from function.accounts.user_store import dump
from function.homeserver.account import Account
from function.settings import Settings

USERS = 100_000_000
EVENTS_A_DAY = 0.5  # profile events for each user; assumed
PEAK = 5.0  # the busiest minute over the mean; assumed
USE = 0.5  # how busy a pod or a Synapse worker may be at the peak; assumed
SPARE = 2  # times as many partitions as the pods need; assumed
STORE_FACTOR = 2.0  # PostgreSQL's row, index and free space over the bytes of a record; assumed
DAY = 86_400
MEMBERS: int = Settings.model_fields["pubsub_components"].default


def record_bytes() -> int:
    """Returns the size of a typical stored state with its key."""
    at = datetime(2026, 1, 1, 9, 30, 0, 123456, tzinfo=UTC)
    name, avatar = "Ada Lovelace", "mxc://staging.nova.app/0123456789abcdef"
    known = Account(display_name=name, avatar=avatar)
    return 36 + len(dump(UserState(profile_at=at, display_name=name, avatar=avatar, known=known, avatar_at=at)))


def sizing(results: Results) -> str:
    """Returns the lists of the page: assumptions, measurements, results."""
    known = results.get("noise known", {}).get(OURS)
    synapse = results.get("real changes", {}).get(LOAD)
    if not known or not synapse:
        return "not measured yet"
    return _chapter(known, synapse["events_per_second"] * synapse["calls_per_event"])


def _chapter(known: Figures, calls: float) -> str:
    mean = USERS * EVENTS_A_DAY / DAY
    peak = PEAK * mean
    for_peak = math.ceil(peak / (USE * known["events_per_second"]))
    pods = max(2, for_peak)  # so that one may fail
    wanted_calls = peak * known["calls_per_event"]
    workers = math.ceil(wanted_calls / (USE * calls))
    store = USERS * record_bytes() * STORE_FACTOR / 1e9
    partitions = SPARE * MEMBERS * pods
    first_days = USERS / (USE * calls * workers) / DAY
    busy = peak * known["cpu_us_per_event"] / 1e6
    measured = (
        f"{known['events_per_second']:,.0f} events/s a pod (noise, users known)",
        f"{known['cpu_us_per_event']:,.0f} µs of processor time an event, function and daprd together",
        f"{known['rss_mb']:,.0f} MB of memory a pod",
        f"{known['calls_per_event']:.3f} calls on Synapse an event",
        f"{calls:,.0f} calls/s that one real Synapse process takes (bare load, changes)",
        f"{record_bytes()} bytes a user's record with its key",
    )
    assumed = (
        f"{USERS:,} users, {EVENTS_A_DAY} profile events a user and day: {mean:,.0f}/s, at the peak {peak:,.0f}/s",
        f"nothing is busier than {USE:.0%} at the peak; the store takes {STORE_FACTOR:.0f} times the records' bytes",
    )
    follows = (
        f"**Pods:** {pods}: {for_peak} for the peak, and never fewer than 2, so that one may fail; {busy:.1f} processors busy in all of them",
        f"**Partitions:** {partitions}: {MEMBERS} for each pod, times {SPARE}, since a topic is seldom given more later",
        f"**Synapse:** {wanted_calls:,.0f} calls/s at the peak: {workers} workers that share the admin and profile routes",
        f"**First sight of all users:** a call each, {first_days:,.1f} days' work of those workers, spread as events come",
        f"**State store:** {store:,.0f} GB, {peak:,.0f} row writes/s at the peak in transactions of a batch: PostgreSQL",
    )
    blocks = (("Assumed", assumed), ("Measured", measured), ("Computed from both", follows))
    return "\n\n".join(f"{title}:\n\n" + "\n".join(f"- {line}" for line in lines) for title, lines in blocks)
