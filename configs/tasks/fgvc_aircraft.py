# FGVC Aircraft: 100 variants of aircraft (Maji et al. 2013).
name = 'FGVC Aircraft'
metric = 'mean_per_class'
data_root = 'data/fgvc-aircraft-2013b'
train = dict(type='FGVCAircraft', split='train')
val = dict(type='FGVCAircraft', split='val')
test = dict(type='FGVCAircraft', split='test')
counts = dict(train=3334, val=3333, test=3333)
files = [*(f'data/images_variant_{part}.txt' for part in ('train', 'val', 'test')), 'data/images']
source = 'https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/ (fgvc-aircraft-2013b.tar.gz)'
