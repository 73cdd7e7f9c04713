# What routing gains, and what gains as much without it (docs/study.md). Names of runs are those of the JSON files.
tasks = ('animal_silhouettes', 'fluent_category', 'fluent_fine', 'open_clip_art', 'sweet_home', 'wesnoth_race',
         'solar_cells')

# Passes over the pool of the first training, and of those that go on from it.
first, more = 10, 8
simclr = '../small/simclr_resnet18_b128-10e_32px.py'
byol = '../small/byol_resnet18_b128-10e_32px.py'
# Batch, optimizer and projector of SimCLR.
simsiam = {
    'model.type': 'SimSiam',
    'optim_wrapper.paramwise_cfg': dict(custom_keys=dict(predictor=dict(fix_lr=True))),
    'model.head': dict(
        _delete_=True,
        type='LatentPredictHead',
        loss=dict(type='CosineSimilarityLoss'),
        predictor=dict(
            type='NonLinearNeck', in_channels=512, hid_channels=128, out_channels=512, with_avg_pool=False,
            norm_cfg=dict(type='BN1d'), with_last_bn=False, with_last_bias=True))
}


def cluster_batches(epochs, blocks=2, over=(), start='baseline', supernet_prob=0.0):
    scratch = '' if start else ', from scratch'
    batches = f'{"batches of one" if supernet_prob == 0 else "the batches of SDR"} of {4 ** blocks} clusters'
    return dict(
        config='../small/simclr_cluster-batches_resnet18_b128-10e_32px.py', epochs=epochs, start=start, blocks=blocks,
        clusters='semantic', over=over, about=f'one network, {batches}{scratch}',
        options={'custom_hooks.0.supernet_prob': supernet_prob})


def separate(blocks):
    return dict(
        config=simclr, epochs=more, start='baseline', clusters='semantic', blocks=blocks, separate=True,
        over=('cluster_batches', ), about=f'{4 ** blocks} separate networks, one a cluster')


# Sub-nets, unless told otherwise from the baseline, all of them from the first iteration on, and nothing else.
def sdr(about, epochs=more, blocks=2, groups=(12, 4), distillation=None, supernet_prob=0.0, joint=False, phases=False,
        over=(), start='baseline', clusters='semantic', **others):
    options = {
        'custom_hooks.0.supernet_prob': supernet_prob,
        'custom_hooks.0.joint': joint,
        'model.backbone.base_channels': groups,
        'model.backbone.routed_blocks': tuple(range(4 - blocks, 4)),
        'model.distillation': distillation
    }
    if not phases:
        options['custom_hooks.0.phase_iters'] = (0, ) * (blocks + 1)
    return dict(
        config='../small/sdr_simclr_resnet18_b128-10e_32px.py', epochs=epochs, blocks=blocks, options=options,
        start=start, clusters=clusters, about=about, over=over, **others)


# Nearly nothing of the last stage is shared.
own = (1, 15)
w0 = 0.2

# A run comes after those that it begins with. There is none of 256 sub-nets, whose clusters fill no batch.
runs = dict(
    baseline=dict(config=simclr, epochs=first, about='SimCLR'),
    simsiam=dict(config=simclr, epochs=first, about='SimSiam', options=simsiam),
    byol=dict(config=byol, epochs=first, about='BYOL'),
    longer=dict(config=simclr, epochs=more, about='SimCLR, trained on', start='baseline'),
    cluster_batches=cluster_batches(more, over=('longer', )),
    cluster_batches_w0=cluster_batches(more, over=('longer', 'cluster_batches'), supernet_prob=w0),
    separate4=separate(1),
    separate16=separate(2),
    sdr4=sdr('SDR, 4 sub-nets', blocks=1, over=('longer', 'cluster_batches')),
    sdr4_own=sdr('SDR, 4 sub-nets with a last stage each', blocks=1, groups=own, over=('cluster_batches', 'sdr4')),
    sdr16=sdr('SDR, 16 sub-nets', over=('longer', 'cluster_batches')),
    sdr64=sdr('SDR, 64 sub-nets', blocks=3, over=('longer', 'sdr16')),
    sdr16_random=sdr('SDR, 16 sub-nets, random clusters', clusters='random', over=('sdr16', )),
    sdr16_all=sdr('SDR, 16 sub-nets, each on all images', shared=True, over=('sdr16', )),
    sdr16_w0=sdr('SDR, 16 sub-nets, super-net in a fifth of the iterations', supernet_prob=w0,
                 over=('longer', 'cluster_batches_w0', 'sdr16')),
    sdr16_siamkd=sdr('the same with SiamKD', supernet_prob=w0, distillation=dict(type='SiamKDLoss'),
                     over=('sdr16_w0', )),
    sdr16_l2=sdr('the same with the L2 distillation', supernet_prob=w0, distillation=dict(type='L2KDLoss'),
                 over=('sdr16_w0', )),
    sdr16_hierarchical=sdr('SDR, 16 sub-nets, similar clusters on similar paths', paths='hierarchical',
                           over=('sdr16', )),
    sdr16_phases=sdr('SDR, 16 sub-nets, by the phases and shares of Algorithm 1', supernet_prob=None, phases=True,
                     over=('sdr16', )),
    baseline_18=dict(config=simclr, epochs=first + more, about='SimCLR, from scratch'),
    cluster_batches_18=cluster_batches(first + more, start='', over=('baseline_18', )),
    cluster_batches_phases_18=cluster_batches(
        first + more, start='', over=('baseline_18', 'cluster_batches_18'), supernet_prob=None),
    # A plain network of nearly as many parameters as the super-net of sdr16: 1.99 million against 2.03.
    wide_18=dict(
        config=simclr, epochs=first + more, about='SimCLR of the size of the super-net, from scratch',
        over=('baseline_18', ),
        options={'model.backbone.base_channels': 27, 'model.neck.in_channels': 216}),
    wide_18_weights=dict(
        config=simclr, epochs=first + more, about='the same, weights pruned to the size of a sub-net', start='wide_18',
        prune='weights', over=('baseline_18', )),
    wide_18_channels=dict(
        config=simclr, epochs=first + more, about='the same, channels pruned to the size of a sub-net', start='wide_18',
        prune='channels', over=('baseline_18', )),
    sdr16_cold=sdr('SDR, 16 sub-nets, from scratch by Algorithm 1', first + more, start='', supernet_prob=None,
                   phases=True, over=('baseline_18', 'cluster_batches_18', 'cluster_batches_phases_18', 'sdr16',
                                      'wide_18', 'wide_18_weights', 'wide_18_channels')),
    longer_16=dict(config=simclr, epochs=2 * more, about='SimCLR, trained on', start='baseline'),
    cluster_batches_16=cluster_batches(2 * more, over=('longer_16', )),
    cluster_batches4_16=cluster_batches(2 * more, blocks=1, over=('longer_16', )),
    sdr4_own_16=sdr('SDR, 4 sub-nets with a last stage each', 2 * more, blocks=1, groups=own,
                    over=('longer_16', 'cluster_batches4_16')),
    cluster_batches_half_16=cluster_batches(2 * more, over=('longer_16', 'cluster_batches_16'), supernet_prob=0.5),
    # It sees the images of 16 passes, those of the run above: 8 of all images for the super-net.
    sdr16_joint=sdr('SDR, 16 sub-nets, super-net in every iteration too', supernet_prob=None, joint=True,
                    over=('sdr16_w0', 'longer_16', 'cluster_batches_16', 'cluster_batches_half_16')),
)
