"""The transform that keeps what others made."""

from mmcv.transforms import BaseTransform
from mmengine.registry import init_default_scope

from sdr_mm.datasets import Cached
from sdr_mm.registry import TRANSFORMS


@TRANSFORMS.register_module(force=True)
class CountingLoader(BaseTransform):
    calls: list = []

    def transform(self, results):
        self.calls.append(results['img_path'])
        return None if results['img_path'] == 'bad' else dict(results, img=len(self.calls))


def test_each_image_is_made_once_and_a_skipped_one_stays_skipped():
    init_default_scope('sdr_mm')
    CountingLoader.calls.clear()
    cached = Cached([dict(type='CountingLoader')])
    found = [cached(dict(img_path=path)) for path in ('a', 'b', 'a', 'bad', 'bad')]
    assert CountingLoader.calls == ['a', 'b', 'bad']
    assert [image and image['img'] for image in found] == [1, 2, 1, None, None]
    found[0]['img'] = 'changed by a later transform'
    assert cached(dict(img_path='a'))['img'] == 1
