# CIFAR10: 10 classes at 32 px (Krizhevsky 2009).
name = 'CIFAR10'
metric = 'accuracy'
data_root = 'data/cifar10'
train = dict(type='CIFAR10', split='train', download=False)
val = 0.2
test = dict(type='CIFAR10', split='test', download=False)
counts = dict(train=50000, test=10000)
files = [*(f'cifar-10-batches-py/data_batch_{number}' for number in range(1, 6)), 'cifar-10-batches-py/test_batch']
source = 'https://www.cs.toronto.edu/~kriz/cifar.html (cifar-10-python.tar.gz)'
