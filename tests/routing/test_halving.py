"""Rungs, subsets and scores of successive halving."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from sdr_mm.evaluation import Split
from sdr_mm.routing.halving import Step, halves, halving_steps, nested_order, soft_accuracy


def test_rungs_go_from_all_sub_nets_to_the_finalists():
    assert halving_steps(256, 10000, 4, 300) == [Step(256, 300), Step(64, 600), Step(16, 1200)]
    assert halving_steps(256, 500, 4, 300) == [Step(256, 300), Step(64, 500), Step(16, 500)]
    assert halving_steps(10, 1000, 4, 300, factor=2) == [Step(10, 300), Step(5, 600)]
    assert halving_steps(4, 1000, 4, 300) == []


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


def test_an_order_of_halves_alternates_between_the_parts_and_ends_with_the_larger():
    labels = np.random.default_rng(0).integers(0, 3, 50)
    split = Split(np.arange(0, 35), np.arange(35, 50))
    order = halves(labels, split)
    assert sorted(order) == list(range(50))
    assert (order[:30:2] < 35).all() and (order[1:30:2] >= 35).all() and (order[30:] < 35).all()
    assert order[:30:2].tolist() == nested_order(labels[:35])[:15].tolist()


def test_soft_accuracy_weighs_the_margin_of_the_votes_that_scikit_learn_counts():
    random = np.random.default_rng(0)
    labels, others = random.integers(0, 3, 40), random.integers(0, 3, 30)
    train = random.normal(size=(40, 8)) + 2 * np.eye(8)[labels]
    test = random.normal(size=(30, 8)) + 2 * np.eye(8)[others]
    knn = KNeighborsClassifier(7, metric='cosine', algorithm='brute',
                               weights=lambda distance: np.exp((1 - distance) / 0.1)).fit(train, labels)
    shares = knn.predict_proba(test)
    right = shares[np.arange(30), others]
    wrong = np.where(np.eye(3)[others] == 1, -1, shares).max(1)
    expected = 100 * (1 / (1 + np.exp(-8 * (right - wrong)))).mean()
    found = soft_accuracy(torch.from_numpy(train), labels, torch.from_numpy(test), others, 7, 0.1)
    assert found == pytest.approx(expected, abs=1e-5)
    assert 40 < found < 95


def test_soft_accuracy_does_not_pay_for_unequal_votes():
    # Two of three neighbors are right in either case; how much nearer they are does not matter.
    labels, test = np.array([0, 0, 1, 1]), torch.eye(2)[:1]
    flat = torch.tensor([[1, 0.], [1, 0], [1, 0.001], [-1, 0]])
    steep = torch.tensor([[1, 0.], [1, 0], [1, 0.001], [-1, 0]]) + torch.tensor([[0, 0.], [0, 0], [0, 0.4], [0, 0]])
    scores = [soft_accuracy(train, labels, test, np.array([0]), 3, 0.07) for train in (flat, steep)]
    assert 90 < scores[0] < scores[1] < 100 and scores[1] - scores[0] < 7


def test_several_labels_score_the_votes_for_those_an_image_has():
    train = torch.tensor([[1., 0], [0, 1]])
    labels = np.array([[1, 0, 0], [0, 0, 1]], np.uint8)
    test = torch.tensor([[1, 0.01], [0.01, 1], [1, 0.]])
    wanted = np.array([[1, 1, 0], [0, 0, 1], [0, 0, 0]], np.uint8)
    # The first has half of its labels from its neighbor, the second its only one; the third has none.
    assert soft_accuracy(train, labels, test, wanted, 1, 0.07) == pytest.approx(100 * (0.5 + 1) / 2)
