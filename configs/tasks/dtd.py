# DTD: 47 textures, partition 1 of ten (Cimpoi et al. 2014).
name = 'DTD'
metric = 'accuracy'
data_root = 'data/dtd'
train = dict(type='TransferDTD', split='train', partition=1)
val = dict(type='TransferDTD', split='val', partition=1)
test = dict(type='TransferDTD', split='test', partition=1)
counts = dict(train=1880, val=1880, test=1880)
files = ['labels/train1.txt', 'labels/val1.txt', 'labels/test1.txt', 'images']
source = 'https://www.robots.ox.ac.uk/~vgg/data/dtd/ (dtd-r1.0.1.tar.gz)'
