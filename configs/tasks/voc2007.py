# VOC2007: 20 classes, several in an image; one that is only there as 'difficult' is not (Everingham et al. 2010).
# The folder is that of the official archives and of MMDetection.
name = 'VOC2007'
metric = 'map_11'
data_root = 'data/VOCdevkit/VOC2007'
train = dict(type='VOC', split='train')
val = dict(type='VOC', split='val')
test = dict(type='VOC', split='test')
counts = dict(train=2501, val=2510, test=4952)
files = [*(f'ImageSets/Main/{part}.txt' for part in ('train', 'val', 'test')), 'Annotations', 'JPEGImages']
source = ('http://host.robots.ox.ac.uk/pascal/VOC/voc2007/ (VOCtrainval_06-Nov-2007.tar and VOCtest_06-Nov-2007.tar, '
          'both into data/)')
