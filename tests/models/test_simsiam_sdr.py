"""Losses of SimSiamSDR against values worked out by hand, stop-gradients, and equality with SimSiam."""

import pytest
import torch
from mmpretrain.models import SimSiam
from mmpretrain.structures import DataSample

from sdr_mm.errors import InputError
from sdr_mm.models.distillation import L2KDLoss, SiamKDLoss, negative_cosine
from sdr_mm.models.simsiam_sdr import SimSiamSDR
from sdr_mm.models.sliced import subnet_state_dict
from sdr_mm.space import SUPERNET

BN = dict(type='BN')
HEAD = dict(hid_channels=16, out_channels=32, with_avg_pool=False, with_last_bn=False, with_last_bias=True)


def algorithm(**kwargs):
    model = SimSiamSDR(
        backbone=dict(type='sdr_mm.SDRResNet', depth=18, base_channels=(5, 3), stem_channels=8),
        neck=dict(type='SDRNonLinearNeck', hid_channels=32, out_channels=32, num_layers=3, with_last_bn_affine=False,
                  norm_cfg=BN),
        head=dict(type='LatentPredictHead', loss=dict(type='CosineSimilarityLoss'),
                  predictor=dict(type='sdr_mm.SDRNonLinearNeck', in_channels=32, norm_cfg=BN, **HEAD)),
        **kwargs)
    return model.train()


def views(n=6):
    return [torch.randn(n, 3, 32, 32), torch.randn(n, 3, 32, 32)]


def samples(*networks):
    return [DataSample(metainfo=dict(network=network)) for network in networks]


def test_negative_cosine_by_hand():
    prediction = torch.tensor([[3., 4.], [1., 0.]])
    target = torch.tensor([[4., 3.], [0., 2.]])
    torch.testing.assert_close(negative_cosine(prediction, target), torch.tensor(-(24 / 25 + 0) / 2))


def test_negative_cosine_stops_the_gradient_of_the_target_and_computes_in_float32():
    prediction = torch.randn(3, 4, requires_grad=True)
    target = torch.randn(3, 4, requires_grad=True)
    negative_cosine(prediction, target).backward()
    assert target.grad is None and prediction.grad.any()
    large = torch.full((1, 4), 4e4, dtype=torch.float16)  # whose norm overflows in half precision
    torch.testing.assert_close(negative_cosine(large, large), torch.tensor(-1.))
    torch.testing.assert_close(negative_cosine(large, large.float()), torch.tensor(-1.))
    torch.testing.assert_close(negative_cosine(large.float(), large), torch.tensor(-1.))


def test_siamkd_by_hand_pairs_each_view_with_the_other():
    p1, p2 = torch.tensor([[1., 0.]]), torch.tensor([[0., 2.]])
    t1, t2 = torch.tensor([[3., 4.]]), torch.tensor([[1., 1.]])
    # cos(p1, t2) = 1/sqrt(2), cos(p2, t1) = 4/5
    loss = SiamKDLoss(loss_weight=2.)((p1, p2), (None, None), (t1, t2))
    torch.testing.assert_close(loss, torch.tensor(-(0.5**0.5 + 0.8)))


def test_l2_distillation_by_hand_pairs_each_view_with_itself():
    z1, z2 = torch.tensor([[1., 0.]], requires_grad=True), torch.tensor([[0., 2.]])
    t1, t2 = torch.tensor([[3., 4.]], requires_grad=True), torch.tensor([[0., 0.]], requires_grad=True)
    loss = L2KDLoss()((None, None), (z1, z2), (t1, t2))
    torch.testing.assert_close(loss, torch.tensor(((4 + 16) / 2 + 4 / 2) / 2))
    loss.backward()
    assert t1.grad is None and t2.grad is None and z1.grad.any()
    far, origin = torch.full((1, 2), 300., dtype=torch.float16), torch.zeros(1, 2, dtype=torch.float16)
    for projections, teacher in (((far, far), (origin, origin)), ((origin, origin), (far, far))):
        # The square of 300 overflows in half precision.
        torch.testing.assert_close(L2KDLoss()((None, None), projections, teacher), torch.tensor(9e4))


@pytest.mark.parametrize('path', [(0, 3, 1, 2), (3, 0, 2, 1)])
def test_subnet_loss_is_simsiams_with_the_same_weights(path):
    model = algorithm()
    reference = SimSiam(
        backbone=model.backbone.subnet_config(),
        neck=dict(type='NonLinearNeck', in_channels=64, hid_channels=32, out_channels=32, num_layers=3,
                  with_last_bn_affine=False, norm_cfg=dict(type='BN1d')),
        head=dict(type='LatentPredictHead', loss=dict(type='CosineSimilarityLoss'),
                  predictor=dict(type='NonLinearNeck', in_channels=32, norm_cfg=dict(type='BN1d'), **HEAD)))
    reference.load_state_dict(subnet_state_dict(model, path), strict=True)
    reference.train()
    images = views()
    ours = model.network_loss(images, model.backbone.space.index(path))
    torch.testing.assert_close(ours['loss_ssl'], reference.loss(images, None)['loss'], rtol=1e-4, atol=1e-6)


def test_distillation_is_against_the_supernet_on_the_other_view():
    model = algorithm()
    images = views()
    network = 27
    path = model.backbone.space.path(network)
    losses = model.loss(images, samples(*[network] * 6))
    with torch.no_grad():
        teacher = [model.project(view, None, False) for view in images]
        predictions = [model.predict(model.project(view, path), path) for view in images]
    expected = (negative_cosine(predictions[0], teacher[1]) + negative_cosine(predictions[1], teacher[0])) / 2
    torch.testing.assert_close(losses['loss_kd'], expected)
    assert losses['network'] == network and set(losses) == {'loss_ssl', 'loss_kd', 'network'}


def test_distillation_sends_no_gradient_into_what_only_the_supernet_has():
    model = algorithm()
    path = (1, 1, 1, 1)
    network = model.backbone.space.index(path)
    model.network_loss(views(), network)['loss_kd'].backward()
    grad = model.backbone.layer4[1].conv2.weight.grad
    other = torch.arange(5 * 8, 5 * 8 + 3 * 8)  # group 0 of the last stage, which the path does not take
    assert grad.any() and not grad[other].any() and not grad[:, other].any()


def test_supernet_has_no_distillation_and_its_name_is_in_the_loss():
    losses = algorithm().loss(views(), samples(*[SUPERNET] * 6))
    assert set(losses) == {'loss_ssl', 'network'} and losses['network'] == SUPERNET


def test_joint_batch_sums_the_losses_of_its_two_networks():
    model = algorithm()
    images = views(8)
    joint = model.loss(images, samples(*[SUPERNET] * 4, *[9] * 4))
    supernet = model.network_loss([view[:4] for view in images], SUPERNET)
    subnet = model.network_loss([view[4:] for view in images], 9)
    torch.testing.assert_close(joint['loss_ssl_supernet'], supernet['loss_ssl'])
    torch.testing.assert_close(joint['loss_kd'], subnet['loss_kd'])
    total, _ = model.parse_losses(joint)
    torch.testing.assert_close(total, supernet['loss_ssl'] + subnet['loss_ssl'] + subnet['loss_kd'])
    other = model.loss([torch.cat([view[4:], view[:4]]) for view in images], samples(*[9] * 4, *[SUPERNET] * 4))
    assert joint['network'] == other['network'] == 9 and other.keys() == joint.keys()


def test_parts_may_be_built_already_and_weights_may_be_a_file(tmp_path):
    model = algorithm()
    parts = {name: getattr(model, name) for name in ('backbone', 'neck', 'head', 'distillation', 'data_preprocessor')}
    again = SimSiamSDR(**parts)
    assert all(getattr(again, name) is part for name, part in parts.items())
    file = str(tmp_path / 'model.pth')
    torch.save(dict(state_dict=model.state_dict()), file)
    for options in (dict(pretrained=file), dict(init_cfg=dict(type='Pretrained', checkpoint=file))):
        other = algorithm(**options)
        assert not torch.equal(other.backbone.conv1.weight, model.backbone.conv1.weight)
        other.init_weights()
        for name, value in model.state_dict().items():
            assert torch.equal(other.state_dict()[name], value), name


def test_images_are_normalized_as_the_config_of_their_preprocessor_says():
    model = algorithm(data_preprocessor=dict(mean=[1., 2., 3.], std=[2., 2., 4.]))
    data = model.data_preprocessor(dict(inputs=[torch.full((1, 3, 2, 2), 5.)] * 2, data_samples=[]))
    assert [view[0, :, 0, 0].tolist() for view in data['inputs']] == 2 * [[2., 1.5, 0.5]]


def test_without_distillation_a_subnet_has_simsiams_loss_alone():
    assert 'loss_kd' not in algorithm(distillation=None).loss(views(), samples(*[3] * 6))


def test_teacher_does_not_update_running_statistics():
    model = algorithm()
    before = model.backbone.bn1.running_mean.clone()
    model.loss(views(), samples(*[3] * 6))
    assert torch.equal(model.backbone.bn1.running_mean, before)
    assert model.neck.bn0.num_batches_tracked == model.head.predictor.bn0.num_batches_tracked == 0


def test_batch_without_network_is_refused():
    with pytest.raises(InputError, match='ClusterDataset'):
        algorithm().loss(views(2), [DataSample(), DataSample()])
