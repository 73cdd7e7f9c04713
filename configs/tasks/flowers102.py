# Oxford 102 Flowers (Nilsback and Zisserman 2008).
name = 'Flowers-102'
metric = 'mean_per_class'
data_root = 'data/Flowers102'
train = dict(type='Flowers102', split='train')
val = dict(type='Flowers102', split='val')
test = dict(type='Flowers102', split='test')
counts = dict(train=1020, val=1020, test=6149)
files = ['imagelabels.mat', 'setid.mat', 'jpg']
source = 'https://www.robots.ox.ac.uk/~vgg/data/flowers/102/ (102flowers.tgz, imagelabels.mat and setid.mat)'
