"""Restarts are followed; two nodes of one id are told apart."""

from coeval_aggregator.boots import ALIVE_S, MAX_RIVALS, BootGuard

A, B, C = 1, 2, 3


def test_a_restart_after_goodbye_is_followed_at_once() -> None:
    guard = BootGuard()
    assert guard.judge(A, now_s=0.0) == "new"
    guard.went_offline(A)
    assert guard.judge(A, now_s=0.1) == "current"  # what its spool still held
    assert guard.judge(B, now_s=0.2) == "new"
    assert guard.duplicates == set()


def test_a_restart_without_goodbye_waits_until_the_old_run_is_silent() -> None:
    guard = BootGuard()
    guard.judge(A, now_s=0.0)
    assert guard.judge(B, now_s=1.0) == "rival"
    assert guard.judge(B, now_s=ALIVE_S + 0.1) == "new"
    assert guard.duplicates == set()


def test_a_late_last_will_lets_the_new_run_in() -> None:
    guard = BootGuard()
    guard.judge(A, now_s=0.0)
    assert guard.judge(B, now_s=1.0) == "rival"
    guard.went_offline(A)
    assert guard.judge(B, now_s=1.1) == "new"


def test_two_runs_that_alternate_are_two_nodes_and_the_first_is_heard() -> None:
    guard = BootGuard()
    verdicts = [guard.judge(boot, now_s=k * 0.1) for k, boot in enumerate([A, B, A, B, A, B])]
    assert verdicts == ["new", "rival", "current", "rival", "current", "rival"]
    assert guard.duplicates == {B}


def test_the_second_node_is_heard_when_the_first_has_gone() -> None:
    guard = BootGuard()
    for k, boot in enumerate([A, B, A]):
        guard.judge(boot, now_s=k * 0.1)
    guard.went_offline(A)
    assert guard.judge(B, now_s=1.0) == "new"
    assert guard.duplicates == set()


def test_a_node_that_reconnects_is_not_gone() -> None:
    guard = BootGuard()
    guard.judge(A, now_s=0.0)
    guard.went_offline(A)
    guard.came_online(A)
    assert guard.judge(B, now_s=0.1) == "rival"


def test_a_flood_of_boots_costs_bounded_memory() -> None:
    guard = BootGuard()
    guard.judge(A, now_s=0.0)
    for boot in range(10, 1000):
        guard.judge(boot, now_s=0.0)
        guard.judge(A, now_s=0.0)
    assert len(guard.duplicates) <= MAX_RIVALS
