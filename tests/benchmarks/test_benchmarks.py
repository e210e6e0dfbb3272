"""The parts of the benchmark: workloads have the stated shape, and a wrong result is detected, however fast."""

import json
import re
from collections import defaultdict
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from benchmarks.expected import expected, fewest_calls
from benchmarks.judge import Judgement, Write, judge
from benchmarks.matrix import PARTS, failures, medians
from benchmarks.process_stats import percentile
from benchmarks.report import tables
from benchmarks.report.chart import bars
from benchmarks.report.sizing import sizing
from benchmarks.stub_synapse.accounts import StubAccounts
from benchmarks.studies.pods import components
from benchmarks.studies.profiling import alone, stacks, tree
from benchmarks.systems import LOAD, NOTHING, OURS, PLAIN, SYSTEMS
from benchmarks.workloads import WORKLOADS, Kind, State, Workload, make
from function.events.decode import decode
from function.events.types import ProfileUpdated, UserDeleted
from function.outcomes import Rejected

ROOT = Path(__file__).parents[2]
PARTITIONS = 3
EVENTS = 400


def made(name: str, seed: int = 1) -> Workload:
    return make(name, EVENTS, PARTITIONS, seed)


def perfect(workload: Workload) -> tuple[dict[str, State], list[Write]]:
    """Returns the result of a system that applies every event in order."""
    writes = [Write(*call) for calls in fewest_calls(workload) for call in calls if call[0] != "get"]
    return {user: state for user, state in expected(workload).items() if state}, writes


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_seed_gives_the_same_workload_again_and_another_seed_another(name: str) -> None:
    assert made(name) == made(name)
    assert made(name) != made(name, seed=2)


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_function_reads_every_event_as_the_workload_means_it(name: str) -> None:
    workload = made(name)
    times: dict[str, list[datetime]] = defaultdict(list)
    for event in [*workload.primer, *workload.everything]:
        read = decode(event.value, {name: text.decode() for name, text in event.headers.items()})
        if event.kind is Kind.POISON:
            assert isinstance(read, Rejected)
            continue
        assert isinstance(read, UserDeleted if event.kind in {Kind.SOFT, Kind.HARD} else ProfileUpdated)
        assert (read.user_id, read.id) == (event.user_id, event.id)
        if isinstance(read, ProfileUpdated):
            assert (read.display_name, read.avatar) == (event.name, event.avatar)
        else:
            assert read.erase is (event.kind is Kind.HARD)
        times[read.user_id].append(read.at)
    assert all(of_user == sorted(set(of_user)) for of_user in times.values()), "each is newer than the one before"


def test_a_profile_is_about_a_kilobyte() -> None:
    assert {len(event.value) for event in made("noise").events} <= set(range(1000, 1050))


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_partition_ends_with_an_event_that_changes_something(name: str) -> None:
    workload = made(name)
    assert [event.partition for event in workload.ends] == list(range(PARTITIONS))
    before = expected(replace(workload, events=(), ends=()))
    assert all(before[event.user_id] != expected(workload)[event.user_id] for event in workload.ends)


def test_noise_changes_one_event_in_twenty() -> None:
    workload = make("noise", 4_000, PARTITIONS)
    puts = [call for calls in fewest_calls(workload) for call in calls if call[0] != "get"]
    assert 0.03 < len(puts) / len(workload.events) < 0.07
    assert len(workload.accounts) == 400 + PARTITIONS


def test_every_event_of_changes_changes_name_and_avatar_unless_its_user_has_no_account() -> None:
    workload = made("changes")
    calls = fewest_calls(workload)
    assert {len([one for one in event if one[0] != "get"]) for event in calls} == {0, 2}
    without_account = {event.user_id for event in workload.events} - set(workload.accounts)
    assert len(without_account) == round(0.01 * EVENTS / 2)
    assert all(
        event.user_id in without_account for event, puts in zip(workload.events, calls, strict=False) if len(puts) < 2
    )


def test_deletions_end_every_account_and_erase_every_second() -> None:
    workload = made("deletions")
    states = [expected(workload)[event.user_id] for event in workload.events]
    assert [state == State(deactivated=True, erased=True) for state in states] == [True, False] * (EVENTS // 2)


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_perfect_run_is_clean(name: str) -> None:
    workload = made(name)
    poison = {event.id for event in workload.events if event.kind is Kind.POISON}
    assert judge(workload, *perfect(workload), letters=poison) == Judgement(0, 0, 0)


def test_an_event_that_never_took_effect_is_lost_and_its_account_wrong() -> None:
    workload = made("changes")
    accounts, writes = perfect(workload)
    last = workload.events[-1]
    accounts[last.user_id] = workload.accounts[last.user_id]
    writes = [write for write in writes if write.value not in {last.name, last.avatar}]
    assert judge(workload, accounts, writes) == Judgement(lost=1, wrong=1, corrupted=0)


def test_an_event_that_a_newer_one_overtook_is_not_lost() -> None:
    workload = made("hot")
    accounts, writes = perfect(workload)
    ended = {(end.user_id, value) for end in workload.ends for value in (end.name, end.avatar)}
    newest = {(user, value) for user, state in accounts.items() for value in (state.name, state.avatar)}
    kept = [write for write in writes if (write.user_id, write.value) in newest | ended]
    assert len(kept) < len(writes)
    assert judge(workload, accounts, kept).clean


def test_a_value_that_is_older_than_the_newest_is_wrong_but_nothing_is_lost() -> None:
    """As after a consumer that reorders a user's events."""
    workload = made("hot")
    accounts, writes = perfect(workload)
    user = workload.events[-1].user_id
    accounts[user] = State("Ada before", accounts[user].avatar)
    assert judge(workload, accounts, writes) == Judgement(lost=0, wrong=1, corrupted=0)


def test_an_erased_account_with_a_name_is_wrong() -> None:
    workload = made("deletions")
    accounts, writes = perfect(workload)
    user = workload.events[0].user_id
    accounts[user] = State("Ada", "", deactivated=True, erased=True)
    assert judge(workload, accounts, writes).wrong == 1


def test_an_id_that_was_written_to_without_an_account_is_corrupted_and_wrong() -> None:
    workload = made("changes")
    assert judge(workload, *perfect(workload), corrupted={"no-account"}) == Judgement(lost=0, wrong=1, corrupted=1)


def test_poison_that_is_in_no_dead_letter_is_lost_where_there_are_dead_letters() -> None:
    workload = make("faults", 2_000, PARTITIONS)
    accounts, writes = perfect(workload)
    poison = [event for event in workload.events if event.kind is Kind.POISON]
    assert poison
    assert judge(workload, accounts, writes, letters=set()).lost == len(poison)
    assert judge(workload, accounts, writes, letters=None).lost == 0


def test_a_homeserver_that_tells_no_writes_is_judged_by_its_accounts() -> None:
    workload = made("deletions")
    accounts, _ = perfect(workload)
    user = workload.events[0].user_id
    accounts[user] = workload.accounts[user]
    assert judge(workload, accounts, None) == Judgement(lost=1, wrong=1, corrupted=0)


USER = "@nova-a:staging.nova.app"
PROFILE = f"/_matrix/client/v3/profile/{USER.replace('@', '%40')}/displayname"


def answered(stub: StubAccounts, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    return stub.answer(method, path, body or {}, 1.0)


def test_the_stub_takes_a_profile_and_shows_it() -> None:
    stub = StubAccounts([[USER, "before", ""]], [[USER, "after"]])
    assert stub.stats()["ends_left"] == 1
    assert answered(stub, "PUT", PROFILE, {"displayname": "after"}) == (200, {})
    status, account = answered(stub, "GET", f"/_synapse/admin/v2/users/{USER}")
    assert (status, account["displayname"]) == (200, "after")
    assert stub.stats() == {
        "calls": 2, "first": 1.0, "last": 1.0, "since": 0, "ends_left": 0, "ended_at": 1.0,
    }  # fmt: skip


def test_a_write_without_an_account_corrupts_the_id_on_the_stub_as_on_synapse() -> None:
    stub = StubAccounts()
    assert answered(stub, "PUT", PROFILE, {"displayname": "x"})[0] == 200
    assert answered(stub, "GET", f"/_synapse/admin/v2/users/{USER}")[0] == 404
    assert stub.corrupted == {USER}


def test_the_stub_ends_and_erases_accounts() -> None:
    stub = StubAccounts([[USER, "a", "mxc://b/c"]])
    path = f"/_synapse/admin/v1/deactivate/{USER}"
    assert answered(stub, "POST", path, {"erase": False})[0] == 200
    assert (stub.accounts[USER]["deactivated"], stub.accounts[USER]["displayname"]) == (True, "a")
    answered(stub, "POST", path, {"erase": True})
    assert (stub.accounts[USER]["erased"], stub.accounts[USER]["displayname"]) == (True, None)
    assert answered(stub, "POST", "/_synapse/admin/v1/deactivate/@nova-b:x")[0] == 404


def test_the_stub_does_not_count_what_is_not_about_a_user() -> None:
    stub = StubAccounts()
    status, body = answered(stub, "GET", "/_matrix/client/v3/account/whoami")
    own = body["user_id"]
    assert status == 200
    assert answered(stub, "GET", f"/_synapse/admin/v2/users/{own}")[1]["admin"] is True
    assert answered(stub, "PUT", f"/_matrix/client/v3/user/{own}/account_data/probe", {"at": 1})[0] == 200
    assert stub.stats()["calls"] == 0


@pytest.mark.parametrize("rest", ["devices", "joined_rooms", "override_ratelimit"])
def test_the_stub_answers_other_questions_about_a_user(rest: str) -> None:
    stub = StubAccounts([[USER, "a", ""]])
    assert answered(stub, "GET", f"/_synapse/admin/v2/users/{USER}/{rest}")[0] == 200


def test_the_stub_fails_a_share_of_the_calls_and_applies_those_that_it_limits() -> None:
    stub = StubAccounts([[USER, "a", ""]], failing=0.2)
    statuses = []
    for number in range(200):
        status, _ = answered(stub, "PUT", PROFILE, {"displayname": str(number)})
        statuses.append(status)
        applied = stub.accounts[USER]["displayname"] == str(number)
        assert applied is (status != 500)
    assert statuses.count(500) > 10
    assert statuses.count(429) > 10


def test_percentiles_are_values_that_were_measured() -> None:
    assert percentile([3.0, 1.0, 2.0, 4.0], 0.5) == 2.0
    assert percentile([1.0] * 98 + [9.0, 10.0], 0.99) == 9.0
    assert percentile([], 0.99) == 0.0


FIGURES = {
    "events_per_second": 100.0, "calls_per_event": 0.1, "lost": 0.0, "wrong": 0.0, "corrupted": 0.0, "p50_ms": 0.0,
    "p99_ms": 0.0, "cpu_us_per_event": 200.0, "rss_mb": 90.0,
}  # fmt: skip


def test_the_median_of_three_hides_no_lost_event() -> None:
    runs = [
        FIGURES | {"events_per_second": rate, "lost": lost} for rate, lost in ((90.0, 0.0), (120.0, 0.0), (80.0, 2.0))
    ]
    found = medians(runs)
    assert (found["events_per_second"], found["lost"], found["runs"]) == (90.0, 2.0, 3)


def test_a_wrong_answer_of_ours_fails_the_benchmark_and_a_peers_does_not() -> None:
    assert failures({"hot": {OURS: FIGURES, PLAIN: FIGURES | {"wrong": 3.0}}}) == []
    assert failures({"hot": {OURS: FIGURES | {"wrong": 3.0}}}) == ["hot: 0 lost, 3 wrong"]


def test_every_part_measures_ours_and_only_known_systems_and_workloads() -> None:
    for part in PARTS:
        assert OURS in part.events
        assert part.events.keys() | part.quick.keys() <= SYSTEMS.keys()
        assert part.workload in WORKLOADS


def test_the_tables_show_ratios_to_the_plain_consumer_and_to_the_limit() -> None:
    results = {
        "noise": {
            OURS: FIGURES,
            PLAIN: FIGURES | {"events_per_second": 4.0},
            NOTHING: FIGURES | {"events_per_second": 400.0},
        }
    }
    shown = tables.results_table(results)
    assert [cell.strip() for cell in shown.splitlines()[2].split("|")][1:6] == ["noise", OURS, "100", "25.0", "0.25"]
    assert "| W1 noise, over the plain consumer" in tables.goals_table(results)


def test_the_cost_of_an_event_is_told_by_process() -> None:
    own = {f"{name}_{process}": 10.0 for name in ("cpu_us_per_event", "rss_mb") for process in ("function", "daprd")}
    results = {"noise": {OURS: FIGURES | {"start_s": 4.04}}, "noise known": {OURS: FIGURES | own | {"start_s": 2.0}}}
    shown = tables.cost(results)
    assert "10.0 µs of the function, 10.0 µs of daprd" in shown
    assert "4.0 s from the start of both, 2.0 s where daprd" in shown
    assert tables.cost({}) == "not measured yet"


def test_what_grew_is_told_under_its_own_head_whatever_the_order_of_a_row() -> None:
    shown = tables.study_table([{"events/s": 2.0, "owned": ""}, {"owned": "2 + 2 + 1", "events/s": 3.0}])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in shown.splitlines()]
    assert rows == [["events/s", "owned"], rows[1], ["2.00", ""], ["3.00", "2 × 2, 1 × 1"]]


def test_the_sizing_is_computed_from_the_figures() -> None:
    few = {"noise known": {OURS: FIGURES}, "real changes": {LOAD: FIGURES}}
    more = {"noise known": {OURS: FIGURES | {"events_per_second": 1e6}}, "real changes": {LOAD: FIGURES}}
    assert "**Pods:** 58" in sizing(few)
    assert "**Pods:** 2: 1 for the peak" in sizing(more)
    assert sizing({}) == "not measured yet"


def test_a_page_is_filled_between_its_markers_and_again() -> None:
    page = "before\n<!-- results -->\n<!-- /results -->\nafter"
    once = tables.filled(page, {"results": "first"})
    assert tables.filled(once, {"results": "a \\1 table"}) == (
        "before\n<!-- results -->\na \\1 table\n<!-- /results -->\nafter"
    )
    with pytest.raises(ValueError, match="no place for other"):
        tables.filled(page, {"other": "x"})


def test_the_chart_is_xml_with_a_bar_for_each_value() -> None:
    picture = ET.fromstring(bars("Events <per> second", {"noise": {"a": 2.0, "b": 1.0}}, ["a", "b"]))
    widths = [float(bar.get("width", "0")) for bar in picture.iter("{http://www.w3.org/2000/svg}rect")][1:]
    assert widths[0] == 2 * widths[1]


def test_more_components_are_more_members_of_the_group_each_with_the_same_resiliency(tmp_path: Path) -> None:
    folder = components(tmp_path, 3, "host=127.0.0.1")
    found = {file.stem: yaml.safe_load(file.read_text()) for file in folder.glob("*.yaml")}
    assert {"pubsub", "pubsub-2", "pubsub-3"} <= found.keys()
    assert found["pubsub-3"]["metadata"]["name"] == "pubsub-3"
    assert found["pubsub-3"]["spec"] == found["pubsub"]["spec"]
    assert found["resiliency"]["spec"]["targets"]["components"].keys() == {"pubsub", "pubsub-2", "pubsub-3"}
    assert found["statestore"]["spec"]["type"] == "state.postgresql"


@pytest.mark.parametrize("count", [1, 3, 4, 8])
def test_there_are_as_many_components_as_were_asked_for(tmp_path: Path, count: int) -> None:
    """Fewer or more than are deployed; the deployed ones are replaced."""
    documents = [d for file in components(tmp_path, count).glob("*.yaml") for d in yaml.safe_load_all(file.read_text())]
    wanted = {"pubsub", *(f"pubsub-{number}" for number in range(2, count + 1))}
    names = [d["metadata"]["name"] for d in documents if d["metadata"]["name"].startswith("pubsub")]
    assert sorted(names) == sorted(wanted)
    (policy,) = [d for d in documents if d["kind"] == "Resiliency"]
    assert policy["spec"]["targets"]["components"].keys() == wanted


def test_samples_are_counted_by_function_alone_and_as_a_tree() -> None:
    raw = "main (a/cli.py:1);decode (x/function/events/decode.py:70) 3\nmain (a/cli.py:2);wait (b.py:9) 1\n"
    samples = stacks(raw)
    assert tree(samples, us=100.0, least=1.0) == ["   75.0  events/decode.py decode", "   25.0  b.py wait"]
    assert tree(samples, us=100.0, least=30.0) == ["   75.0  events/decode.py decode"]
    assert alone(samples) == {"events/decode.py decode": 3, "b.py wait": 1}


def test_the_page_shows_what_was_measured_last() -> None:
    """The tables are filled by the benchmark, never by hand."""
    results = tables.load()
    page = tables.PAGE.read_text()
    for text in (tables.results_table(results), tables.goals_table(results), tables.cost(results), sizing(results)):
        assert text in page
    assert json.dumps(results)
    assert re.search(r"<!-- made -->", page)
