"""Detection data and metric: folders of VOC format, refusals, AP worked out by hand and against MMDetection."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detection_data import Square, voc_folder, write_image, write_lists

from sdr_mm.errors import InputError

pytestmark = pytest.mark.ops

CLASSES = ('red', 'blue')


def read(folder, split='trainval', **options):
    from sdr_mm.detection import VOCFolder
    options = {'metainfo': dict(classes=CLASSES), **options}
    return VOCFolder(data_root=str(folder), ann_file=f'ImageSets/Main/{split}.txt', **options)


def one_image(folder, *squares, **options):
    write_image(folder, 'only', squares, **options)
    write_lists(folder, trainval=['only'])
    return folder


def test_folder_is_read_as_mmdetection_reads_it(tmp_path):
    from mmdet.datasets import VOCDataset
    folder = voc_folder(tmp_path)
    theirs = VOCDataset(
        data_root=str(folder), ann_file='ImageSets/Main/trainval.txt', data_prefix=dict(sub_data_root=''),
        metainfo=dict(classes=CLASSES))
    ours = read(folder)
    assert len(ours) == len(theirs) == 6
    assert [ours.get_data_info(i) for i in range(6)] == [theirs.get_data_info(i) for i in range(6)]


def test_difficult_objects_are_marked_to_be_ignored(tmp_path):
    one_image(tmp_path, Square('red', (1, 1, 9, 9)), Square('blue', (20, 20, 39, 39), difficult=1))
    instances = read(tmp_path, test_mode=True).get_data_info(0)['instances']
    assert [instance['ignore_flag'] for instance in instances] == [0, 1]


def test_images_of_another_suffix_are_found_by_their_annotation(tmp_path):
    one_image(tmp_path, Square('red', (1, 1, 9, 9)), suffix='.png')
    assert read(tmp_path).get_data_info(0)['img_path'].endswith('JPEGImages/only.png')


def test_box_may_be_one_pixel_over_the_border(tmp_path):
    one_image(tmp_path, Square('red', (0, 0, 65, 64)))
    assert len(read(tmp_path)) == 1


def test_folder_without_image_sets_is_refused(tmp_path):
    write_image(tmp_path, 'only', [Square('red', (1, 1, 9, 9))])
    with pytest.raises(InputError, match='there is no file .*ImageSets/Main/trainval.txt: a folder of VOC format has'):
        read(tmp_path)


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_list_that_mmdetection_would_misread_is_refused(tmp_path, encoding):
    voc_folder(tmp_path)
    file = tmp_path / 'ImageSets/Main/trainval.txt'
    file.write_text(file.read_text(), encoding=encoding)
    with pytest.raises(InputError, match='trainval.txt is in UTF-16, or has a byte order mark or backslashes: save it'):
        read(tmp_path)


def test_unknown_class_is_refused(tmp_path):
    one_image(tmp_path, Square('red', (1, 1, 9, 9)), Square('green', (1, 1, 9, 9)))
    with pytest.raises(InputError, match="only.xml has an object of the unknown class 'green': .* red, blue"):
        read(tmp_path)


@pytest.mark.parametrize('box', [(1, 1, 66, 9), (-1, 1, 9, 9), (1, 1, 9, 70), (9, 1, 9, 9), (9, 1, 2, 9)])
def test_box_that_is_empty_or_leaves_the_image_is_refused(tmp_path, box):
    one_image(tmp_path, Square('red', box))
    with pytest.raises(InputError, match='only.xml has the box .* leaves the image of 64 × 64 pixels'):
        read(tmp_path)


@pytest.mark.parametrize('text', ['<annotation', '<annotation><object><name>red</name></object></annotation>'])
def test_annotation_that_is_no_voc_is_refused(tmp_path, text):
    one_image(tmp_path, Square('red', (1, 1, 9, 9)))
    (tmp_path / 'Annotations' / 'only.xml').write_text(text)
    with pytest.raises(InputError, match='only.xml is no annotation in VOC format'):
        read(tmp_path)


@pytest.mark.parametrize('part', ['JPEGImages/only.jpg', 'Annotations/only.xml'])
def test_missing_file_is_named(tmp_path, part):
    one_image(tmp_path, Square('red', (1, 1, 9, 9)))
    (tmp_path / part).unlink()
    with pytest.raises(InputError, match=f'there is no .*{part}'):
        read(tmp_path)


def test_classes_that_lack_a_comma_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"classes = \('red', \)"):
        read(tmp_path, metainfo=dict(classes=('red')))


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def sample(found=(), objects=(), difficult=()):
    """One image as a detector hands it over: rows of (label, box[, score])."""
    def instances(rows):
        return dict(bboxes=boxes(*(row[1] for row in rows)), labels=torch.tensor([row[0] for row in rows]).long())

    pred = instances(found)
    pred['scores'] = torch.tensor([row[2] for row in found])
    return dict(pred_instances=pred, gt_instances=instances(objects), ignored_instances=instances(difficult))


def score(*samples, classes=('only', )):
    from sdr_mm.detection import VOCDetectionMetric
    metric = VOCDetectionMetric()
    metric.dataset_meta = dict(classes=classes)
    metric.process(None, samples)
    return metric.evaluate(len(samples))


A, B = (0, 0, 9, 9), (20, 0, 29, 9)
# Rows 0 to 7 of the 10 rows of A: 80 of 100 pixels, so an overlap of exactly 0.8; and 0.6; and 0.5.
A80, A60, A50 = (0, 0, 9, 7), (0, 0, 9, 5), (0, 0, 9, 4)


def test_metric_equals_what_was_worked_out_by_hand():
    """Three objects to find, A and B in the first image and A in the second, where B is difficult.

    Best score first, the detections are: A with 0.8, A again with 0.6, the difficult one with 1.0, A of the
    second image with 0.5, B with 1.0.

    - IoU 0.50: found, false (found before), neither, found, found. Precision 1 at recall 1/3, 2/3 at 2/3, 3/4
      at 1; of 11 points 4 (recall 0 to 0.3) have 1 and 7 have 3/4: 9.25 / 11.
    - IoU 0.55 to 0.80, six of them: found, false, neither, false, found. Precision 1 at recall 1/3, 1/2 at 2/3;
      4 points have 1, 3 (0.4 to 0.6) have 1/2: 5.5 / 11.
    - IoU 0.85 to 0.95, three of them: false, false, neither, false, found. Precision 1/4 at recall 1/3; 4 points
      have it: 1 / 11.
    """
    first = sample(found=[(0, A80, 0.9), (0, A60, 0.8), (0, B, 0.5)], objects=[(0, A), (0, B)])
    second = sample(found=[(0, B, 0.7), (0, A50, 0.6)], objects=[(0, A)], difficult=[(0, B)])
    assert score(first, second) == pytest.approx({
        'pascal_voc/AP50': 100 * 9.25 / 11,
        'pascal_voc/AP75': 100 * 5.5 / 11,
        'pascal_voc/AP': 100 * (9.25 + 6 * 5.5 + 3 * 1) / 11 / 10,
    })


def test_classes_count_the_same_and_those_without_objects_not_at_all():
    image = sample(found=[(0, A80, 0.9), (1, A, 0.9), (2, A, 0.9)], objects=[(0, A), (2, A)])
    # Overlap 0.8 passes 7 of the 10 thresholds; the class in the middle has nothing to find.
    assert score(image, classes=('a', 'b', 'c')) == pytest.approx({
        'pascal_voc/AP': (70 + 100) / 2, 'pascal_voc/AP50': 100, 'pascal_voc/AP75': 100})


def test_recall_of_exactly_three_tenths_reaches_the_point_0_3():
    objects = [(0, (20 * i, 0, 20 * i + 9, 9)) for i in range(10)]
    found = [(*entry, 0.9) for entry in objects[:3]]
    # In floating point 3 * 0.1 is more than 3 / 10, and the fourth of the 11 points would be lost.
    assert score(sample(found, objects))['pascal_voc/AP50'] == pytest.approx(100 * 4 / 11)


def test_nothing_found_scores_zero():
    assert score(sample(objects=[(0, A)])) == {f'pascal_voc/{name}': 0.0 for name in ('AP', 'AP50', 'AP75')}


def test_metric_equals_mmdetections_own_on_random_boxes():
    """Which rounds AP50 and AP75 to 0.1, but not the mean over the overlaps."""
    from mmdet.evaluation import VOCMetric
    random = np.random.default_rng(0)

    def boxes_at_random(count):
        corner = random.uniform(0, 60, (count, 2))
        return np.concatenate([corner, corner + random.uniform(5, 40, (count, 2))], axis=1)

    # 7 and 13 objects to find: no recall but 0 and 1 then meets one of the 11 points exactly.
    counts = {0: [3, 0, 4], 1: [6, 5, 2]}
    samples = []
    for image in range(3):
        objects = [(label, box) for label in counts for box in boxes_at_random(counts[label][image])]
        difficult = [(label, box) for label in counts for box in boxes_at_random(2)]
        near = [(label, box + random.normal(0, 1.5, 4), random.uniform()) for label, box in objects + difficult] * 2
        near = [(label, box + random.normal(0, 1.5, 4), random.uniform()) for label, box, _ in near]
        samples.append(sample(near, objects, difficult))
    theirs = VOCMetric(iou_thrs=[twentieth / 20 for twentieth in range(10, 20)])
    theirs.dataset_meta = dict(classes=('a', 'b'))
    theirs.process(None, samples)
    expected = theirs.evaluate(len(samples))
    ours = score(*samples, classes=('a', 'b'))
    assert 0.1 < expected['pascal_voc/mAP'] < 0.9
    assert ours['pascal_voc/AP'] == pytest.approx(100 * expected['pascal_voc/mAP'], rel=1e-6)
    for column in ('AP50', 'AP75'):
        assert ours[f'pascal_voc/{column}'] == pytest.approx(100 * expected[f'pascal_voc/{column}'], abs=0.05)
        assert ours[f'pascal_voc/{column}'] != round(ours[f'pascal_voc/{column}'], 1)
