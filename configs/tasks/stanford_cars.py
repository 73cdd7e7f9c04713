# Stanford Cars: 196 models of cars (Krause et al. 2013).
# Of the two layouts that MMPretrain knows this is the one with a devkit, whose order of the training
# images decides which of them validate.
name = 'Stanford Cars'
metric = 'accuracy'
data_root = 'data/Stanford_Cars'
train = dict(type='StanfordCars', split='train')
val = 0.2
test = dict(type='StanfordCars', split='test')
counts = dict(train=8144, test=8041)
files = ['devkit/cars_train_annos.mat', 'devkit/cars_test_annos_withlabels.mat', 'cars_train', 'cars_test']
source = ('https://ai.stanford.edu/~jkrause/cars/car_dataset.html (offline since 2023; where copies are: '
          'https://github.com/pytorch/vision/issues/7545)')
