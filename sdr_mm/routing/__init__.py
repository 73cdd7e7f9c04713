"""From a trained SDRNet to the backbone for a task: BN reset, ranking, export."""

from .bn_reset import BNImages, BNReset, reset_bn
from .evaluator import SEARCHES, RoutingEvaluator
from .halving import Halving
from .label_free import LabelFree
from .prefix_tree import PrefixTree
from .ranking import Cost, RankedNetwork, Ranking
from .routing_hook import RoutingHook
from .scores import SCORES, Scorer
from .strategies import Exact, Screen, Search
from .subnet import export_subnet, extract_subnet

__all__ = [
    'SCORES', 'SEARCHES', 'BNImages', 'BNReset', 'Cost', 'Exact', 'Halving', 'LabelFree', 'PrefixTree',
    'RankedNetwork', 'Ranking', 'RoutingEvaluator', 'RoutingHook', 'Scorer', 'Screen', 'Search', 'export_subnet',
    'extract_subnet', 'reset_bn'
]
