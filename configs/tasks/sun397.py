# SUN397: 397 scenes, partition 01 of ten (Xiao et al. 2010).
name = 'SUN397'
metric = 'accuracy'
data_root = 'data/SUN397'
train = dict(type='SUN397', split='train')
val = 0.2
test = dict(type='SUN397', split='test')
counts = dict(train=19850, test=19850)
files = ['Partitions/Training_01.txt', 'Partitions/Testing_01.txt', 'SUN397']
source = 'https://vision.princeton.edu/projects/2010/SUN/ (SUN397.tar.gz, and Partitions.zip into Partitions/)'
