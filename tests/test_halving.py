"""Rungs, subsets and scores of successive halving."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from sdr_mm.routing.halving import Rung, leave_one_out, nested_order, rungs


def test_rungs_go_from_all_sub_nets_to_the_finalists():
    assert rungs(256, 10000, 4, 300) == [Rung(256, 300), Rung(64, 600), Rung(16, 1200)]
    assert rungs(256, 500, 4, 300) == [Rung(256, 300), Rung(64, 500), Rung(16, 500)]
    assert rungs(10, 1000, 4, 300, factor=2) == [Rung(10, 300), Rung(5, 600)]
    assert rungs(4, 1000, 4, 300) == []


@given(st.lists(st.integers(1, 60), min_size=2, max_size=6), st.integers(0, 5), st.floats(0.05, 1))
def test_every_beginning_of_the_order_holds_each_class_in_proportion(sizes, seed, share):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    order = nested_order(labels, seed)
    assert sorted(order) == list(range(len(labels)))
    beginning = labels[order[:round(share * len(labels))]]
    for label, size in enumerate(sizes):
        assert abs((beginning == label).sum() - len(beginning) / len(labels) * size) <= len(sizes)


def test_order_of_several_labels_is_a_permutation_and_depends_on_the_seed():
    labels = np.ones((50, 3), np.uint8)
    assert sorted(nested_order(labels)) == list(range(50))
    assert (nested_order(labels, 1) != nested_order(labels, 2)).any()


def reference(features, labels, k, temperature, groups):
    """Share of each sample's own label among its neighbours of other groups, by scikit-learn."""
    shares = []
    for i in range(len(features)):
        others = groups != groups[i]
        knn = KNeighborsClassifier(min(k, others.sum()), metric='cosine', algorithm='brute',
                                   weights=lambda distance: np.exp((1 - distance) / temperature))
        knn.fit(features[others], labels[others])
        votes = knn.predict_proba(features[i:i + 1])[0]
        shares.append(dict(zip(knn.classes_, votes)).get(labels[i], 0.0))
    return 100 * np.mean(shares)


@pytest.mark.parametrize('grouped', [False, True])
def test_score_is_what_scikit_learn_gives_when_each_sample_is_left_out(grouped):
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 40)
    features = random.normal(size=(40, 8)) + 2 * np.eye(8)[labels]
    groups = np.arange(40) // 2 if grouped else np.arange(40)
    found = leave_one_out(torch.from_numpy(features), labels, 7, 0.1, groups if grouped else None)
    assert found == pytest.approx(reference(features, labels, 7, 0.1, groups), abs=1e-6)
    assert 40 < found < 95


def test_twins_do_not_vote_for_each_other():
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, 30).repeat(2)
    noise = torch.from_numpy(random.normal(size=(30, 6)).repeat(2, 0))
    assert leave_one_out(noise, labels, 1, 0.07) == 100
    assert leave_one_out(noise, labels, 1, 0.07, np.arange(60) // 2) < 75


def test_several_labels_score_the_votes_for_those_an_image_has():
    features = torch.tensor([[1., 0], [1, 0.01], [0, 1], [0.01, 1]])
    labels = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]], np.uint8)
    # Neighbours: 0 asks 1 (half of its labels), 1 asks 0, 2 and 3 ask each other.
    assert leave_one_out(features, labels, 1, 0.07) == pytest.approx(100 * (0.5 + 1 + 1 + 1) / 4)
