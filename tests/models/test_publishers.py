"""Every publisher's file gives the ResNet that is in it, or says which keys it cannot place."""

import argparse

import pytest
import torch
import torchvision
from mmpretrain.models.backbones import ResNet
from safetensors.torch import save_file
from torch import nn

from sdr_mm.errors import InputError
from sdr_mm.images import IMAGENET, ZERO_TO_ONE
from sdr_mm.models.baselines import BASELINES, find_baseline
from sdr_mm.models.checkpoints import load_resnet
from sdr_mm.models.publishers import LAYOUTS
from sdr_mm.models.zoo import load_network

CONFIG = dict(depth=50, base_channels=2, stem_channels=4, in_channels=3)


def resnet(seed):
    """A ResNet-50 of base width 2 whose every weight and statistic is its own."""
    torch.manual_seed(seed)
    network = ResNet(**CONFIG)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5) if 'var' in name or 'bn' in name else value.normal_(0, 0.3)
    network.eval()
    return network


class SimCLRv2(nn.Module):
    """A ResNet-50 built of the parts, and so of the names, that SimCLRv2-Pytorch has."""

    def __init__(self, width=2):
        super().__init__()

        def conv(inside, outside, kernel, stride=1):
            return nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False)

        def norm(channels, last=nn.ReLU):
            return nn.Sequential(nn.BatchNorm2d(channels), last())

        stages, channels = [nn.Sequential(conv(3, 4, 7, 2), norm(4), nn.MaxPool2d(3, 2, 1))], 4
        for stage, count in enumerate((3, 4, 6, 3)):
            blocks = nn.ModuleList()
            for number in range(count):
                w, stride = width * 2**stage, 2 if stage and not number else 1
                block = nn.Module()
                if not number:
                    block.projection = nn.Module()
                    block.projection.shortcut = conv(channels, 4 * w, 1, stride)
                    block.projection.bn = norm(4 * w, nn.Identity)
                block.net = nn.Sequential(conv(channels, w, 1), norm(w), conv(w, w, 3, stride), norm(w),
                                          conv(w, 4 * w, 1), norm(4 * w, nn.Identity))
                blocks.append(block)
                channels = 4 * w
            stages.append(nn.Module())
            stages[-1].blocks = blocks
        self.net, self.fc = nn.Sequential(*stages), nn.Linear(channels, 5)

    def forward(self, x):
        x = self.net[0](x)
        for stage in self.net[1:]:
            for block in stage.blocks:
                shortcut = block.projection.bn(block.projection.shortcut(x)) if hasattr(block, 'projection') else x
                x = torch.relu(shortcut + block.net(x))
        return x


def under(prefix, state):
    return {prefix + key: value for key, value in state.items()}


def rows(*keys):
    """Heads and the like: their values do not matter."""
    return {key: torch.ones(2, 2) for key in keys}


def linear(*names):
    return rows(*(f'{name}.{part}' for name in names for part in ('weight', 'bias')))


def moco(state, other, *heads):
    q, k = 'module.encoder_q.', 'module.encoder_k.'
    weights = {**under(q, state), **linear(*(q + head for head in heads)), **under(k, other),
               **linear(*(k + head for head in heads)), **rows('module.queue', 'module.queue_ptr')}
    return dict(epoch=200, arch='resnet50', state_dict=weights, optimizer=dict(state={}, param_groups=[dict(lr=0.03)]))


def pycontrast(state, other, *others):
    """As saved with data parallelism; the momentum encoder lies beside, not within."""
    return dict(opt=argparse.Namespace(arch='resnet50'), model={**under('module.encoder.', state), **others[0]},
                model_ema=under('encoder.', other), contrast=rows('memory'), epoch=200)


def swav(state, other, *prototypes):
    # The projection head lies in the network, and the file is a bare state dict.
    return {**under('module.', state), **linear('module.projection_head.0', 'module.projection_head.3'),
            **rows('module.projection_head.1.running_mean', *(f'module.prototypes{name}' for name in prototypes))}


def mmpretrain_byol(state, other):
    return dict(meta=dict(cfg='model = dict(data_preprocessor=dict(mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0)))\n'),
                state_dict={**under('backbone.', state), **linear('neck.fc0', 'head.predictor.fc0'),
                            **under('target_net.module.0.', other), **rows('target_net.steps')})


def mmselfsup_moco(state, other):
    return dict(state_dict={**under('encoder_q.0.', state), **linear('encoder_q.1.mlp.0'), **under('backbone.', state),
                            **under('encoder_k.0.', other), **linear('encoder_k.1.mlp.0', 'neck.mlp.0'),
                            **rows('queue', 'queue_ptr')})


def simclr_v2(state, other):
    network = SimCLRv2()
    names = iter(network.state_dict())
    # Both list their layers in the order of the forward, but for the shortcut, which ResNet has at the end.
    weights = {}
    for block in _blocks(state):
        weights.update({next(names): state[key] for key in block})
    return dict(resnet={**weights, **{name: torch.ones(2) for name in names}}, head=linear('layers.0'))


def _blocks(state):
    """Keys of the stock ResNet in the order of SimCLRv2-Pytorch: the shortcut before its block."""
    blocks = {}
    for key in state:
        blocks.setdefault('.'.join(key.split('.')[:2]) if key.startswith('layer') else 'stem', []).append(key)
    return [sorted(keys, key=lambda key: 'downsample' not in key) for keys in blocks.values()]


# What stands in the files of the paper's baselines, by name.
FILES = {
    'Supervised': lambda s, o: {**s, **linear('fc')},
    'InsDis': lambda s, o: pycontrast(s, o, linear('module.head.0')),
    'MoCo-v1': lambda s, o: moco(s, o, 'fc'),
    'PIRL': lambda s, o: pycontrast(s, o, linear('module.head.0', 'module.head_jig.fc1', 'module.head_jig.fc2')),
    'PCL-v1': lambda s, o: moco(s, o, 'fc'),
    'PCL-v2': lambda s, o: moco(s, o, 'fc.0', 'fc.2'),
    'MoCo-v2': lambda s, o: moco(s, o, 'fc.0', 'fc.2'),
    'SimCLR-v1': lambda s, o: dict(state_dict={**s, **linear('fc')}),
    'SimCLR-v2': simclr_v2,
    'InfoMin': lambda s, o: pycontrast(s, o, linear('module.head.0', 'module.head.2')),
    'SeLa-v2': lambda s, o: swav(s, o, '.prototypes0.weight', '.prototypes1.weight'),
    'DeepCluster-v2': lambda s, o: swav(s, o, '.prototypes0.weight', '.prototypes1.weight', '.prototypes2.weight'),
    'SwAV': lambda s, o: swav(s, o, '.weight'),
    'SimSiam': lambda s, o: dict(state_dict={**under('backbone.', s), **linear('neck.fc0', 'head.predictor.fc0'),
                                             **rows('data_preprocessor.mean')}),
    'SimSiam-100': lambda s, o: dict(arch='resnet50', state_dict={
        **under('module.encoder.', s), **linear('module.encoder.fc.0', 'module.encoder.fc.7', 'module.predictor.0')}),
    'BYOL-200': mmpretrain_byol,
    'BYOL': lambda s, o: {**{key: value for key, value in s.items() if 'tracked' not in key}, **linear('fc')},
}
# Others of the same publishers, with the layout and the prefix that they have.
MORE = {
    'mmselfsup 0.x': (mmselfsup_moco, 'OpenMMLab', 'backbone.'),
    'mmselfsup 0.x, wrapped': (lambda s, o: dict(state_dict=under('module.', mmselfsup_moco(s, o)['state_dict'])),
                               'OpenMMLab', 'module.backbone.'),
    'mmselfsup, backbone alone': (lambda s, o: dict(state_dict=s, meta={}), 'torchvision', ''),
    'a detector': (lambda s, o: {**under('backbone.', s), **linear('neck.lateral_convs.0.conv', 'rpn_head.rpn_conv',
                                                                   'roi_head.bbox_head.fc_cls')},
                   'OpenMMLab', 'backbone.'),
    'MoCo v3': (lambda s, o: dict(state_dict={
        **under('module.base_encoder.', s), **linear('module.base_encoder.fc.0', 'module.predictor.0'),
        **under('module.momentum_encoder.', o), **linear('module.momentum_encoder.fc.0')}), 'MoCo v3',
                'module.base_encoder.'),
    'MoCo without data parallelism': (lambda s, o: {**under('encoder_q.', s), **under('encoder_k.', o),
                                                    **linear('encoder_q.fc')}, 'MoCo', 'encoder_q.'),
    'ssl-transfer': (lambda s, o: s, 'torchvision', ''),
    'SwAV unwrapped': (lambda s, o: {key[len('module.'):]: value for key, value in swav(s, o, '.weight').items()},
                       'torchvision', ''),
}


def check(path, stock, x):
    network, info = load_resnet(path)
    assert info['config'] == dict(CONFIG, type='mmpretrain.ResNet') and not network.training
    for key, value in stock.state_dict().items():
        assert 'tracked' in key or torch.equal(network.state_dict()[key], value), key
    with torch.no_grad():
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(network(x), stock(x)))
    return info


@pytest.mark.parametrize('name', FILES)
def test_a_baselines_file_gives_its_encoder_bit_for_bit(name, tmp_path):
    stock, other = resnet(1), resnet(2)
    file = tmp_path / 'x.pth.tar'
    # Files of 2020 and before are of the older format.
    torch.save(FILES[name](stock.state_dict(), other.state_dict()), file,
               _use_new_zipfile_serialization=name not in ('MoCo-v1', 'PCL-v1'))
    info = check(file, stock, torch.randn(2, 3, 64, 64))
    row = find_baseline(name)
    assert info['layout'] == row.layout
    network = load_network(f'baseline:{name.lower()}@{file}', '--candidates')
    assert network.name == name and network.num_parameters == sum(p.numel() for p in stock.parameters())
    # SimCLR saw images from 0 to 1. MMPretrain's files say themselves what theirs was.
    expected = {'SimCLR-v1': ZERO_TO_ONE, 'SimCLR-v2': ZERO_TO_ONE, 'BYOL-200': ((1, 2, 3), (4, 5, 6))}
    assert network.settings.normalization == expected.get(name, IMAGENET)


@pytest.mark.parametrize('name', MORE)
def test_their_other_files_do_too(name, tmp_path):
    stock, other = resnet(1), resnet(2)
    make, layout, prefix = MORE[name]
    torch.save(make(stock.state_dict(), other.state_dict()), tmp_path / 'x.pth')
    info = check(tmp_path / 'x.pth', stock, torch.randn(1, 3, 64, 64))
    assert (info['layout'], info['prefix']) == (layout, prefix)


class SelfSupervised(nn.Module):
    """As solo-learn and lightly have it: a backbone, its moving average, and heads."""

    def __init__(self, backbone, other, momentum):
        super().__init__()
        self.backbone, self.projection_head = backbone, nn.Linear(2, 2)
        setattr(self, momentum.format('backbone'), other)
        setattr(self, momentum.format('projector'), nn.Linear(2, 2))
        self.register_buffer('queue', torch.zeros(2))


class Trunk(nn.Module):
    """VISSL's: the parts of torchvision's ResNet under names of their own."""

    def __init__(self, network):
        super().__init__()
        parts = dict(network.named_children())
        parts['conv1_relu'] = parts.pop('relu')
        del parts['fc']
        self._feature_blocks = nn.ModuleDict(parts)


class MultiCrop(nn.Module):
    """DINO's: a backbone without classifier, and a head."""

    def __init__(self, network):
        super().__init__()
        network.fc = nn.Identity()
        self.backbone, self.head = network, nn.Sequential(nn.Linear(2, 2))


def in_a_row(network):
    return nn.Sequential(*list(network.children())[:-1])


def dino(network, other):
    return dict(student=nn.DataParallel(MultiCrop(other)).state_dict(),
                teacher=nn.DataParallel(MultiCrop(network)).state_dict(), epoch=3,
                args=argparse.Namespace(arch='resnet50'), dino_loss=dict(center=torch.zeros(1, 2)))


# How others wrap torchvision's ResNets, and where the backbone is then.
WRAPPED = {
    'solo-learn': (lambda n, o: dict(state_dict=SelfSupervised(n, o, 'momentum_{}').state_dict()), 'backbone.'),
    'lightly': (lambda n, o: dict(state_dict=SelfSupervised(in_a_row(n), in_a_row(o), '{}_momentum').state_dict()),
                'backbone.'),
    'lightly, backbone alone': (lambda n, o: in_a_row(n).state_dict(), ''),
    'compiled': (lambda n, o: torch.compile(n).state_dict(), '_orig_mod.'),
    'compiled and wrapped': (lambda n, o: torch.compile(nn.DataParallel(n)).state_dict(), '_orig_mod.module.'),
    'compiled in part': (lambda n, o: nn.DataParallel(SelfSupervised(torch.compile(n), o, '{}_momentum')).state_dict(),
                         'module.backbone._orig_mod.'),
    'VISSL': (lambda n, o: dict(phase=1, classy_state_dict=dict(base_model=dict(model=dict(
        trunk=Trunk(n).state_dict(), heads=nn.Linear(2, 2).state_dict())))), '_feature_blocks.'),
    'DINO': (dino, 'module.backbone.'),
    'DINO, student alone': (lambda n, o: dict(student=dino(o, n)['student']), 'module.backbone.'),
}


@pytest.mark.parametrize('name, depth', [*((name, 18) for name in WRAPPED), ('lightly', 50), ('VISSL', 50)])
def test_however_a_resnet_is_wrapped_its_features_are_torchvisions(name, depth, tmp_path):
    torch.manual_seed(1)
    network, other = (getattr(torchvision.models, f'resnet{depth}')(num_classes=2).eval()
                      for _ in range(2))
    for key, value in network.state_dict().items():
        if 'running' in key:
            value.uniform_(0.5, 1.5)
    make, prefix = WRAPPED[name]
    torch.save(make(network, other), tmp_path / 'x.pth')
    found, info = load_resnet(tmp_path / 'x.pth')
    assert info['prefix'] == prefix
    network.fc = nn.Identity()
    x = torch.randn(2, 3, 40, 48)
    with torch.no_grad():
        torch.testing.assert_close(found(x)[-1].mean((2, 3)), network(x))


def test_a_compiled_network_is_a_candidate_under_its_name(tmp_path):
    network = torchvision.models.resnet18()
    torch.save(torch.compile(nn.DataParallel(network)).state_dict(), tmp_path / 'x.pth')
    found = load_network(f'torchvision:resnet18@{tmp_path / "x.pth"}')
    assert torch.equal(found.module.module.conv1.weight, network.conv1.weight)


def test_a_safetensors_file_is_read(tmp_path):
    stock = resnet(1)
    save_file({**stock.state_dict(), **linear('fc')}, tmp_path / 'model.safetensors')
    info = check(tmp_path / 'model.safetensors', stock, torch.randn(1, 3, 64, 64))
    assert sorted(info['dropped']) == ['fc.bias', 'fc.weight']


def test_simclr_v2_is_a_plain_resnet_whatever_its_names(tmp_path):
    torch.manual_seed(3)
    theirs = SimCLRv2().eval()
    for name, value in theirs.state_dict().items():
        if 'running' in name:
            value.uniform_(0.5, 1.5)
    torch.save(dict(resnet=theirs.state_dict()), tmp_path / 'x.pth')
    network, info = load_resnet(tmp_path / 'x.pth')
    x = torch.randn(2, 3, 70, 64)
    with torch.no_grad():
        torch.testing.assert_close(network(x)[-1], theirs(x))
    assert info['dropped'] == ['fc.weight', 'fc.bias']


def _selective(state):
    """SimCLR-v2 with selective kernels: another stem, and a part instead of the second convolution."""
    state = simclr_v2(state, None)['resnet']
    state['net.0.2.weight'] = torch.ones(2)
    state['net.1.blocks.0.net.2.main_conv.0.weight'] = state.pop('net.1.blocks.0.net.2.weight')
    return dict(resnet=state)


def _typo(state):
    state = moco(state, {}, 'fc')
    state['state_dict']['module.encoder_q.layer3.2.conv2.wieght'] = state['state_dict'].pop(
        'module.encoder_q.layer3.2.conv2.weight')
    return state


def _mixed(state):
    return {**under('module.', state), 'fc.weight': torch.ones(1)}


@pytest.mark.parametrize('make, message', [
    (_typo, r'1 keys belong to no ResNet and to no known head \(MoCo layout\): '
            r'module\.encoder_q\.layer3\.2\.conv2\.wieght: give a'),
    (lambda s: {k: v for k, v in under('backbone.', s).items() if k != 'backbone.layer3.2.bn2.bias'},
     r'lacks 1 weights of this ResNet: layer3\.2\.bn2\.bias'),
    (lambda s: {**under('module.encoder_q.', s), **linear('module.encoder_z.fc')}, r'2 keys .*module\.encoder_z\.fc'),
    (lambda s: {**under('encoder.', s), **rows('queue')}, r'1 keys .*SimSiam or PyContrast layout\): queue'),
    # Momentum encoders are nobody's backbone.
    (lambda s: under('module.encoder_k.', s), r'holds no ResNet in a known layout \(keys: module\.encoder_k'),
    (lambda s: under('target_net.module.0.', s), 'holds no ResNet'),
    # CMC has two encoders of half the width.
    (lambda s: {**under('module.encoder1.', s), **under('module.encoder2.', s)}, 'holds no ResNet'),
    (_mixed, 'holds no ResNet'),
    (_selective, r'2 keys .*net\.0\.2\.weight, net\.1\.blocks\.0\.net\.2\.main_conv.* selective kernels'),
    (lambda s: {**s, 'layer1.0.conv2.weight': torch.ones(4, 1, 3, 3)}, 'ResNeXt or a wide ResNet.*torchvision:resnext'),
    (lambda s: {**s, 'layer1.0.conv2.weight': torch.ones(4, 4, 3, 3), 'layer1.0.conv1.weight': torch.ones(4, 4, 1, 1)},
     'ResNeXt or a wide ResNet'),
])
def test_what_cannot_be_placed_is_refused_by_name(make, message, tmp_path):
    torch.save(make(resnet(1).state_dict()), tmp_path / 'x.pth')
    with pytest.raises(InputError, match=message) as caught:
        load_resnet(tmp_path / 'x.pth')
    assert '\n' not in str(caught.value)


def test_a_damaged_safetensors_file_is_one_line(tmp_path):
    (tmp_path / 'x.safetensors').write_bytes(b'\x09\0\0\0\0\0\0\0{"a": 1}')
    with pytest.raises(InputError, match=r'x\.safetensors cannot be read as a checkpoint') as caught:
        load_resnet(tmp_path / 'x.safetensors')
    assert '\n' not in str(caught.value)


def test_there_is_a_file_for_every_row_of_the_papers_tables():
    table_1 = {('Supervised', 90), ('InsDis', 200), ('MoCo-v1', 200), ('PIRL', 200), ('PCL-v1', 200), ('PCL-v2', 200),
               ('MoCo-v2', 800), ('SimCLR-v1', 1000), ('SimCLR-v2', 800), ('InfoMin', 800), ('SeLa-v2', 400),
               ('DeepCluster-v2', 400), ('SwAV', 400), ('SimSiam', 200), ('BYOL', 200), ('BYOL', 400)}
    assert {(row.row, row.row_epochs) for row in BASELINES} == table_1
    assert [row.name for row in BASELINES] == list(FILES)
    assert {row.layout for row in BASELINES} <= {layout.name for layout in LAYOUTS}
    # Where the training is not that of the row, it says so.
    assert all(row.note for row in BASELINES if row.epochs != row.row_epochs)


@pytest.mark.parametrize('spec, message', [
    ('baseline:MoCo-v4@x.pth', "no baseline 'MoCo-v4': the known ones are Supervised, InsDis"),
    ('baseline:SimCLR-v1', 'get resnet50-1x.pth from github.com/google-research/simclr.*convert it with .*SimCLR-v1@'),
    ('baseline:SwAV@gone.pth', 'there is no file gone.pth'),
    ('baseline:@x.pth', 'must be baseline:NAME or'),
])
def test_a_baseline_that_cannot_be_had_is_one_line(spec, message):
    with pytest.raises(InputError, match=message) as caught:
        load_network(spec, '--candidates')
    assert '\n' not in str(caught.value)
