"""What every registered method must do, ours and yours: checks to call from a test, a few seconds for all.

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_contract(check):
        check("mymethod")

Each check runs the method at its default settings on a small made-up federation and raises an AssertionError that
says what went wrong, and which line is likely to do it. They show that a method keeps the rules of a fair comparison;
that it equals its paper is for tests of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .absence import absent_clients_change_nothing
from .conditions import (
    divergence_is_not_an_accuracy,
    mixed_architectures_work_or_are_refused,
    normalised_nets_work,
    one_client_works,
    other_server_architectures_work_or_are_refused,
    partial_participation_works,
    poor_clients_work,
    single_samples_work,
)
from .fairness import (
    bytes_equal_the_closed_form,
    scoring_changes_nothing,
    sealed_labels_change_nothing,
    steps_equal_the_plan,
    test_data_change_nothing,
)
from .messages import each_upload_matters, received_messages_matter, scores_are_what_they_say
from .newcomers import unseen_clients_work
from .optimizers import local_optimizers_are_as_declared
from .repeating import (
    RENUMBERED,
    loop_equals_stacked,
    order_of_clients_changes_nothing,
    other_runs_change_nothing,
    renumbering_clients_renumbers_results,
    same_seed_same_bits,
    stopping_and_resuming_changes_nothing,
    threads_change_nothing,
    views_change_nothing,
)
from .separation import only_messages_pass
from .worlds import MODEL, TRAINING, Outcome, client_facts, deal, finish, made_up_data, make_run, renumber, undisturbed

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "CHECKS",
    "MODEL",
    "RENUMBERED",
    "TRAINING",
    "Outcome",
    "absent_clients_change_nothing",
    "bytes_equal_the_closed_form",
    "client_facts",
    "deal",
    "divergence_is_not_an_accuracy",
    "each_upload_matters",
    "finish",
    "local_optimizers_are_as_declared",
    "loop_equals_stacked",
    "made_up_data",
    "make_run",
    "mixed_architectures_work_or_are_refused",
    "normalised_nets_work",
    "one_client_works",
    "only_messages_pass",
    "order_of_clients_changes_nothing",
    "other_runs_change_nothing",
    "other_server_architectures_work_or_are_refused",
    "partial_participation_works",
    "poor_clients_work",
    "received_messages_matter",
    "renumber",
    "renumbering_clients_renumbers_results",
    "same_seed_same_bits",
    "scores_are_what_they_say",
    "scoring_changes_nothing",
    "sealed_labels_change_nothing",
    "single_samples_work",
    "steps_equal_the_plan",
    "stopping_and_resuming_changes_nothing",
    "test_data_change_nothing",
    "threads_change_nothing",
    "undisturbed",
    "unseen_clients_work",
    "views_change_nothing",
]

CHECKS: tuple[Callable[[str], None], ...] = (
    same_seed_same_bits,
    other_runs_change_nothing,
    threads_change_nothing,
    views_change_nothing,
    scoring_changes_nothing,
    stopping_and_resuming_changes_nothing,
    order_of_clients_changes_nothing,
    loop_equals_stacked,
    renumbering_clients_renumbers_results,
    only_messages_pass,
    received_messages_matter,
    each_upload_matters,
    scores_are_what_they_say,
    sealed_labels_change_nothing,
    test_data_change_nothing,
    bytes_equal_the_closed_form,
    steps_equal_the_plan,
    local_optimizers_are_as_declared,
    partial_participation_works,
    one_client_works,
    mixed_architectures_work_or_are_refused,
    other_server_architectures_work_or_are_refused,
    normalised_nets_work,
    single_samples_work,
    poor_clients_work,
    absent_clients_change_nothing,
    unseen_clients_work,
    divergence_is_not_an_accuracy,
)
"""All checks; each takes the registered name of a method."""
