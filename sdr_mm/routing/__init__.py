"""From a trained SDRNet to the backbone for a task: BN reset, ranking, export."""

from .bn_reset import reset_bn
from .bn_source import BNReset
from .evaluator import RoutingEvaluator
from .export import export_subnet, extract_subnet
from .load_sdr import Pool, SDRInfo, load_pool, load_sdr
from .prefix_tree import PrefixTree
from .result import Cost, RoutingResult, RoutingRow
from .routing_hook import RoutingHook

__all__ = [
    'BNReset', 'Cost', 'Pool', 'PrefixTree', 'RoutingEvaluator', 'RoutingHook', 'RoutingResult', 'RoutingRow',
    'SDRInfo', 'export_subnet', 'extract_subnet', 'load_pool', 'load_sdr', 'reset_bn'
]
