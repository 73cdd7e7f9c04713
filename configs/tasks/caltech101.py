# Caltech-101: 101 classes and background, split by the benchmark's rule (Fei-Fei, Fergus and Perona 2004).
name = 'Caltech-101'
metric = 'mean_per_class'
data_root = 'data/caltech-101'
train = dict(type='TransferCaltech101', split='train')
val = 0.2
test = dict(type='TransferCaltech101', split='test')
counts = dict(train=2416, test=6728)
files = ['101_ObjectCategories']
source = 'https://data.caltech.edu/records/mzrjq-6wc02 (caltech-101.zip, and in it 101_ObjectCategories.tar.gz)'
