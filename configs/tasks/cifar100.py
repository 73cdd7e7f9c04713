# CIFAR100: 100 classes at 32 px (Krizhevsky 2009).
name = 'CIFAR100'
metric = 'accuracy'
data_root = 'data/cifar100'
train = dict(type='CIFAR100', split='train', download=False)
val = 0.2
test = dict(type='CIFAR100', split='test', download=False)
counts = dict(train=50000, test=10000)
files = ['cifar-100-python/train', 'cifar-100-python/test']
source = 'https://www.cs.toronto.edu/~kriz/cifar.html (cifar-100-python.tar.gz)'
