# Food-101: 101 dishes (Bossard et al. 2014).
name = 'Food-101'
metric = 'accuracy'
data_root = 'data/food-101'
train = dict(type='Food101', split='train')
val = 0.2
test = dict(type='Food101', split='test')
counts = dict(train=75750, test=25250)
files = ['meta/train.txt', 'meta/test.txt', 'images']
source = 'https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/ (food-101.tar.gz)'
