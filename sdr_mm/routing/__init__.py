"""From a trained SDRNet to the backbone for a task: BN reset, ranking, export."""

from .bn_reset import reset_bn
from .evaluator import BNReset, RoutingEvaluator
from .export import export_subnet, extract_subnet
from .load_sdr import Pool, SDRInfo, load_pool, load_sdr
from .result import RoutingResult, RoutingRow

__all__ = [
    'BNReset', 'Pool', 'RoutingEvaluator', 'RoutingResult', 'RoutingRow', 'SDRInfo', 'export_subnet', 'extract_subnet',
    'load_pool', 'load_sdr', 'reset_bn'
]
