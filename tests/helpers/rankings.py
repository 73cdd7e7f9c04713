"""Rankings made by hand."""

from sdr_mm.routing import Cost, RankedNetwork, Ranking


def ranking(task, scores, baseline=50.0, **settings):
    """Of sub-nets of 2 groups and 2 blocks with these scores, None for an eliminated one, beside two references."""
    rows = [RankedNetwork(f'sub-net {i}', i, [i // 2, i % 2], 'task', [] if score is None else [float(score)],
                          eliminated=int(score is None)) for i, score in enumerate(scores)]
    rows.append(RankedNetwork('super-net', None, None, 'task', [49.0 if baseline is None else baseline - 1]))
    if baseline is not None:
        rows.append(RankedNetwork('baseline', None, None, 'task', [baseline]))
    return Ranking.of(task, rows, settings, Cost(1, 1, 1.0))
