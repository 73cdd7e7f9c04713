# Oxford-IIIT Pets: 37 breeds of cats and dogs (Parkhi et al. 2012).
name = 'Oxford Pets'
metric = 'mean_per_class'
data_root = 'data/Oxford-IIIT_Pets'
train = dict(type='OxfordIIITPet', split='trainval')
val = 0.2
test = dict(type='OxfordIIITPet', split='test')
counts = dict(train=3680, test=3669)
files = ['annotations/trainval.txt', 'annotations/test.txt', 'images']
source = 'https://www.robots.ox.ac.uk/~vgg/data/pets/ (images.tar.gz and annotations.tar.gz)'
