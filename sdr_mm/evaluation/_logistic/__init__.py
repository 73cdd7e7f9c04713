"""Logistic regression of frozen features for many l2 weights, to the optimum, in float64."""

from .fit import LogisticFit, fit_logistic

__all__ = ['LogisticFit', 'fit_logistic']
