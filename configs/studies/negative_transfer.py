# Section 3 of the paper on pictures that need no download by hand: a network of one domain, of the others, of all
# (docs/negative_transfer.md). All of them train from scratch for as many iterations.
tasks = ('animal_silhouettes', 'fluent_category', 'fluent_fine', 'open_clip_art', 'sweet_home', 'wesnoth_race',
         'solar_cells')

config = '../small/simclr_resnet18_b128-10e_32px.py'
epochs = 10
# Folders of the pool; 'pool' are the emoji. Furniture has too few images for a network of its own.
domains = dict(
    emoji='pool', silhouettes='animal_silhouettes', clip_art='open_clip_art', sprites='wesnoth_race',
    solar_cells='solar_cells')
everything = (*domains.values(), 'sweet_home')

runs = dict(all=dict(config=config, epochs=epochs, about='all'))
for name, folder in domains.items():
    title = name.replace('_', ' ')
    runs[f'only_{name}'] = dict(
        config=config, epochs=epochs, about=f'{title} alone', over=('all', ), domains=(folder, ))
    runs[f'without_{name}'] = dict(
        config=config, epochs=epochs, about=f'without {title}', over=('all', ),
        domains=tuple(other for other in everything if other != folder))
