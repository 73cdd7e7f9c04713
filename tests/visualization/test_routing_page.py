"""The routing page, most of it opened in a real browser."""

import json
import re
from html import escape

import numpy as np
import pytest
import torch
from browser import Page, chromium, contrast
from PIL import Image
from repository import load_tool
from routing_data import make_run

import sdr_mm
from sdr_mm.clusters import Clusters
from sdr_mm.datasets import ImageFolder
from sdr_mm.errors import InputError
from sdr_mm.images import fingerprint, image_names
from sdr_mm.routing import Cost, RankedNetwork, Ranking
from sdr_mm.space import SubnetSpace
from sdr_mm.visualization import routing_page

WIDTHS = (360, 768, 1440)
ROUTE = ['--resize', '36', '--size', '32', '--k', '3', '--splits', '3', '--device', 'cpu']
SETTINGS = dict(columns=['knn k=20', 'logme'], classes=3, train=60, held_out=30, splits=5, size=32, resize=32,
                bn_reset='task', search='exact', k=[20], metric='accuracy', temperature=0.07)


@pytest.fixture(scope='module')
def browser():
    with chromium() as found:
        yield found


def made(groups=4, blocks=4, splits=5, scored=None, others=('super-net', 'baseline'), **settings):
    """A ranking of all sub-nets of a space by random scores, of which so many were scored in full."""
    random, space = np.random.default_rng(0), SubnetSpace(groups, blocks)
    networks = [RankedNetwork(name, None, None, 'task', (60 + random.normal(0, 1, splits)).tolist(),
                              {'logme': [0.1] * splits}) for name in others]
    for index in range(len(space)):
        scores = (60 + random.normal(0, 2) + random.normal(0, 1, splits)).tolist()
        full = scored is None or index < scored
        networks.append(RankedNetwork(
            f'sub-net {index}', index, list(space.path(index)), 'task', scores if full else [],
            {'logme': [0.01 * index] * splits} if full else {}, 0 if full else 1, None if full else float(index)))
    agreement = {'knn k=20': dict(spearman=0.5, kendall=float('nan'), regret=1.0, networks=float(len(space)))}
    return Ranking.of('Flowers 102', networks, {**SETTINGS, 'splits': splits, **settings}, Cost(1000, 2500, 65.0),
                      ['sub-nets were screened'] * (scored is not None), agreement=agreement)


UNLABELED = dict(classes=0, images=40)
RANKINGS = dict(
    many=lambda: made(), few=lambda: made(blocks=1), one=lambda: made(1, 1, 1),
    halved=lambda: made(scored=5), alone=lambda: made(2, 2, others=()),
    unlabeled=lambda: made(2, 2, 0, scored=0, others=(), **UNLABELED),
    long=lambda: made(2, 1, others=('super-net', 'baseline', 'timm:' + 'x' * 120)))


def write(ranking, file, galleries='there is no pool', command='python tools/export_subnet.py x --out y'):
    routing_page(ranking, file, command=command, galleries=galleries)
    return file


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A folder in which a real ranking was written as JSON and as a page by tools/route.py."""
    root = make_run(tmp_path_factory.mktemp('run'))
    torch.manual_seed(0)
    load_tool('route').main([str(root / 'sdr.pth'), '--task', str(root / 'task'), *ROUTE, '--scores', 'knn', 'logme',
                             '--baseline', 'pool-r18-baseline', '--out', str(root / "r's.json"), '--report',
                             str(root / 'page.html')])
    return root


@pytest.mark.browser
def test_the_page_of_a_run_has_all_that_the_ranking_has(run, browser):
    ranking = Ranking.load(run / "r's.json")
    best = ranking.best
    with Page(browser, run / 'page.html') as page:
        assert (page.complaints, page.requests) == ([], [])
        assert page.texts('h1') == ['task'] and page.texts('.hero .big') == [best.name]
        assert page.texts('.hero .path span') == [str(group) for group in best.path]
        facts = ' '.join(page.texts('.hero .facts dd'))
        assert f'{best.score:.2f} ± {np.std(best.scores):.2f}' in facts
        assert f'{abs(best.gain_baseline):.2f}' in facts and f'{abs(best.gain_supernet):.2f}' in facts
        wins = sum(one > other for one, other in zip(best.scores, ranking.network('baseline').scores))
        assert f'above the baseline on {wins} of 3 splits' in page.texts('.sure')[0]
        assert 'chosen on these held-out images' in ' '.join(page.texts('.cautions'))
        # The table is the ranking's own.
        head, lines = ranking.cells(99, 0)
        cells = [[cell.replace('−', '-') for cell in page.texts(f'#table tbody tr:nth-child({row}) td')]
                 for row in range(1, page.count('#table tbody tr') + 1)]
        assert page.texts('#table th') == head and cells == lines and len(lines) == len(ranking.networks)
        for kind in ('wide', 'narrow'):
            assert page.count(f'svg.{kind} g.mark') == page.count(f'svg.{kind} circle') == len(ranking.subnets) == 4
        assert page.count('svg.wide g.mark.routed') == 1
        # 24 images in 4 clusters, 20 of the task, of which at most 12 are shown; the best three sub-nets.
        assert page.count('.gallery') == 3
        assert page.texts('.gallery h3') == [
            ' '.join([one.name, ''.join(map(str, one.path)), text])
            for one, text in zip(ranking.subnets, page.texts('.gallery h3 .gain'))]
        assert [page.count(f'.gallery:nth-of-type({n}) .pair > :nth-child({side}) img')
                for n in (1, 2, 3) for side in (1, 2)] == [6, 12] * 3
        assert set(page.tab.evaluate('[...document.images].map((one) => one.naturalWidth)')) == {96}
        clusters = Clusters.load(run / 'clusters.npz')
        names = image_names(ImageFolder(str(run / 'pool')))
        cluster = int(np.flatnonzero(clusters.subnets == best.subnet)[0])
        alt = page.tab.evaluate("[...document.querySelectorAll('.gallery:nth-of-type(1) img')].map((one) => one.alt)")
        assert sorted(alt[:6]) == sorted(names[number] for number in np.flatnonzero(clusters.assignment == cluster))
        assert all(re.fullmatch(r'(rings|stripes), \1\d+\.png', text) for text in alt[6:])
        assert page.texts('#cost + dl dd')[0] == f'{ranking.cost.passes:,.0f}'
        quoted = f"""'{run}/r'"'"'s.json'"""
        assert page.texts('#command') == [f'python tools/export_subnet.py {run}/sdr.pth --routing {quoted} '
                                          f'--out sub-net_{best.subnet}.pth']
    assert (run / 'page.html').stat().st_size < 3e6


def test_a_saved_ranking_makes_the_same_page(run, tmp_path):
    load_tool('routing_report').main([str(run / 'sdr.pth'), '--routing', str(run / "r's.json"), '--out',
                                      str(tmp_path / 'page.html'), '--device', 'cpu'])
    assert (tmp_path / 'page.html').read_text() == (run / 'page.html').read_text()
    with pytest.raises(InputError, match='exists already'):
        load_tool('routing_report').main([str(run / 'sdr.pth'), '--routing', str(run / "r's.json"), '--out',
                                          str(tmp_path / 'page.html')])


@pytest.mark.browser
def test_the_images_that_were_shown_are_those_of_the_pool(run, browser):
    """Pixels of a thumbnail, as the browser decodes it."""
    with Page(browser, run / 'page.html') as page:
        name, pixels = page.tab.evaluate("""() => {
          const image = document.querySelector('.gallery img'), canvas = document.createElement('canvas');
          canvas.width = canvas.height = 96;
          canvas.getContext('2d').drawImage(image, 0, 0);
          return [image.alt, [...canvas.getContext('2d').getImageData(0, 0, 96, 96).data]];
        }""")
    seen = np.array(pixels).reshape(96, 96, 4)[..., :3]
    away = {}
    for file in (run / 'pool').iterdir():
        with Image.open(file) as image:
            wanted = np.asarray(image.resize((120, 96), Image.Resampling.BICUBIC), float)[:, 12:108]
        away[file.name] = np.abs(seen - wanted).mean()
    assert min(away, key=away.get) == name and away.pop(name) < 8 and min(away.values()) > 12


@pytest.mark.browser
def test_what_is_not_there_is_said_in_its_place(run, browser, tmp_path):
    ranking = Ranking.load(run / "r's.json")
    sdr = sdr_mm.load(run / 'sdr.pth', device='cpu')
    (tmp_path / 'task').symlink_to(run / 'task')
    source = ranking.settings['task'] = dict(ranking.settings['task'], source=str(tmp_path / 'gone'))
    sdr.report(ranking, tmp_path / 'a.html')
    with Page(browser, tmp_path / 'a.html') as page:
        assert page.count('img') == 0 and f'{source["source"]}, which is no folder' in page.texts('#clusters + p')[0]
    sdr.report(ranking, tmp_path / 'b.html', task=tmp_path / 'task')
    with Page(browser, tmp_path / 'b.html') as page:
        assert page.count('img') == 3 * 18 and '--routing' not in page.texts('#command')[0]
    for missing in (dict(task=tmp_path / 'gone'), dict(data=tmp_path / 'gone'), dict(clusters=tmp_path / 'gone')):
        with pytest.raises(InputError, match='gone'):
            sdr.report(ranking, tmp_path / 'c.html', **missing)
    ranking.settings['checkpoint'] = 'sha256:other'
    with pytest.raises(InputError, match='another checkpoint'):
        sdr.report(ranking, tmp_path / 'c.html')
    assert not (tmp_path / 'c.html').exists()


@pytest.mark.parametrize('kind', RANKINGS)
@pytest.mark.browser
def test_every_ranking_fits_every_window_in_light_and_dark(kind, browser, tmp_path):
    ranking = RANKINGS[kind]()
    file = write(ranking, tmp_path / 'page.html')
    grounds = {}
    for scheme in ('light', 'dark'):
        for width in WIDTHS:
            with Page(browser, file, width, color_scheme=scheme) as page:
                assert (page.complaints, page.requests, page.overflow()) == ([], [], 0), (scheme, width)
                assert page.count('#table tbody tr') == len(ranking.networks)
                shown = [kind for kind in ('wide', 'narrow') if page.tab.locator(f'svg.{kind}').is_visible()]
                wanted = ['narrow' if width < 760 else 'wide'] if ranking.scored and ranking.network('baseline') else []
                assert shown == wanted
                for name in shown:
                    assert page.count(f'svg.{name} g.mark') == len(ranking.scored)
                page.tab.evaluate("document.querySelector('details').open = true")
                colors = page.colors()
                assert page.overflow() == 0 and len(colors) > 50
                faint = {text: contrast(one, other) for text, one, other in colors if contrast(one, other) < 4.5}
                assert not faint, (scheme, faint)
                grounds[scheme] = page.tab.evaluate('getComputedStyle(document.body).backgroundColor')
    assert contrast(grounds['light'], 'rgb(255, 255, 255)') < 1.2 and contrast(grounds['dark'], 'rgb(0, 0, 0)') < 1.3


@pytest.mark.browser
def test_error_bars_are_where_there_are_splits(browser, tmp_path):
    for name, bars in (('few', 4), ('one', 0), ('halved', 5)):
        with Page(browser, write(RANKINGS[name](), tmp_path / f'{name}.html')) as page:
            assert page.count('svg.wide .mark > path') == bars
            words = ' '.join(page.texts('figcaption'))
            assert ('standard deviation' in words) == (bars > 0) and ('no error bars' in words) == (bars == 0)
            assert ('251 sub-nets were eliminated' in words) == (name == 'halved')
            assert ('held-out images alone' in ' '.join(page.texts('.sure'))) == (name == 'one')


@pytest.mark.browser
def test_a_better_network_of_another_kind_is_pointed_out(browser, tmp_path):
    ranking = made(2, 1, others=())
    better = RankedNetwork('timm:resnet50', None, None, 'own', [70.0] * 5)
    for networks, words in ((ranking.networks, []), ([*ranking.networks, better], [
            'timm:resnet50 scores higher than every sub-net: 70.00 ± 0.00.'])):
        file = write(Ranking.of('x', networks, ranking.settings, ranking.cost), tmp_path / f'{len(networks)}.html')
        with Page(browser, file) as page:
            assert page.texts('.warn') == words


def numbers(texts):
    return [float(re.match(r'[-+]?[\d.]+', text.replace('−', '-'))[0]) for text in texts if text[:1] not in ('', '–')]


@pytest.mark.browser
def test_a_click_or_a_key_on_a_head_sorts(browser, tmp_path):
    ranking = made(scored=200)
    with Page(browser, write(ranking, tmp_path / 'page.html')) as page:
        def column(number):
            return page.texts(f'#table tbody td:nth-child({number})')

        before, total = column(2), len(ranking.networks)
        page.tab.get_by_role('button', name='network').click()
        assert column(2) == ['baseline', *(f'sub-net {index}' for index in range(256)), 'super-net']
        over = page.tab.get_by_role('button', name='over baseline')
        over.click()
        found = column(7 + 1)
        assert numbers(found) == sorted(numbers(found), reverse=True) and len(numbers(found)) == 201
        assert found[201:] == [''] * (total - 201), 'those without a gain stay at the end'
        assert page.tab.locator('th[aria-sort]').all_text_contents() == ['over baseline']
        over.press('Enter')
        assert numbers(column(8)) == sorted(numbers(found)) and column(8)[201:] == [''] * (total - 201)
        page.tab.get_by_role('button', name='LogME').press('Space')
        assert numbers(column(6)) == sorted(numbers(column(6)), reverse=True)
        page.tab.get_by_role('button', name='rank').click()
        subnets = [name for name in before if name.startswith('sub-net')]
        assert column(2)[:256] == subnets and sorted(column(2)) == sorted(before)


@pytest.mark.browser
def test_the_command_is_copied(browser, tmp_path):
    command = "python tools/export_subnet.py 'a b.pth' --out 'x'\"'\"'.pth' && <b>"
    file = write(made(2, 1), tmp_path / 'page.html', command=command)
    with Page(browser, file, permissions=['clipboard-read', 'clipboard-write']) as page:
        page.tab.get_by_role('button', name='Copy').click()
        page.tab.get_by_role('button', name='Copied').wait_for(timeout=3000)
        assert page.tab.evaluate('navigator.clipboard.readText()') == command


@pytest.mark.browser
def test_without_scripts_everything_is_there(browser, tmp_path):
    ranking = made()
    with Page(browser, write(ranking, tmp_path / 'page.html'), java_script_enabled=False) as page:
        assert page.count('#table tbody tr') == 258 and page.count('button') == 0
        assert page.tab.locator('#table tbody tr').last.is_visible() and page.tab.locator('#command').is_visible()


@pytest.mark.browser
def test_it_prints_in_full_on_white_paper(browser, tmp_path):
    with Page(browser, write(made(), tmp_path / 'page.html'), color_scheme='dark') as page:
        height = 'document.querySelector(".box").clientHeight'
        assert page.tab.evaluate(height) < 700
        assert page.tab.pdf()[:5] == b'%PDF-'
        page.tab.emulate_media(media='print')
        rows = page.tab.evaluate('document.getElementById("table").clientHeight')
        assert page.tab.evaluate(height) >= rows > 5000
        assert page.tab.evaluate('getComputedStyle(document.body).backgroundColor') == 'rgb(255, 255, 255)'
        assert not page.tab.get_by_role('button', name='Copy').is_visible()
        assert all(contrast(one, other) >= 4.5 for _, one, other in page.colors())


EVIL = ['<script>window.hit = 1</script>', '"onload="window.hit=1', "'><img src=x onerror=window.hit=1>",
        '</title><script>window.hit=1</script>', '{{ 7 * 7 }}{% raw %}', '&lt;b&gt; &amp; \\u003cb',
        '</style><style>*{display:none}</style>', 'javascript:window.hit=1', ']]><!--', '--bn-reset <i>']


@pytest.mark.browser
def test_names_that_mean_harm_are_text(run, browser, tmp_path):
    """In every place of the file that routing writes, and of the images: read back as it was written."""
    content = json.loads((run / "r's.json").read_text())
    content['task'] = EVIL[3]
    for number, network in enumerate(content['networks']):
        if network['name'] not in ('super-net', 'baseline'):
            network['name'] = f'{EVIL[number % len(EVIL)]} {number}'
        network['bn'] = EVIL[(number + 1) % len(EVIL)]
    content['settings']['columns'] = [f'knn {EVIL[0]}', EVIL[2]]
    content['settings']['search'] = EVIL[6]
    content['settings'][EVIL[1]] = dict(a=EVIL)
    content['settings']['bn_reset'] = EVIL[4]
    content['shortcuts'] = EVIL
    content['agreement'] = {EVIL[5]: dict(spearman=1, kendall=1, regret=1, networks=4)}
    (tmp_path / 'evil.json').write_text(json.dumps(content))
    ranking = Ranking.load(tmp_path / 'evil.json')
    for number, name in enumerate(EVIL[:3]):
        place = tmp_path / 'task' / name.replace('/', '∕')
        place.mkdir(parents=True)
        for image in range(3):
            Image.new('RGB', (40, 40), (50 * number, 60 * image, 90)).save(place / f'{image}{place.name}.png')
    data = tmp_path / 'pool'
    data.mkdir()
    for image in range(8):
        name = f'{image}{EVIL[image].replace("/", "∕")}.png'
        Image.new('RGB', (40, 40), (30 * image, 60, 90)).save(data / name)
    images = image_names(ImageFolder(str(data)))
    Clusters(np.arange(8) % 4, np.eye(4, dtype=np.float32), np.array(list(SubnetSpace(2, 2).paths)), 2,
             fingerprint(images), 'random').save(tmp_path / 'c.npz')
    file = tmp_path / 'page.html'
    sdr_mm.load(run / 'sdr.pth', device='cpu').report(ranking, file, routing=EVIL[2], task=tmp_path / 'task', data=data,
                                                      clusters=tmp_path / 'c.npz')
    with Page(browser, file) as page:
        assert (page.complaints, page.requests) == ([], [])
        assert page.tab.evaluate('window.hit') is None
        assert {tag: page.count(tag) for tag in ('script', 'style', 'iframe', 'b', 'i')} == dict(
            script=1, style=1, iframe=0, b=1, i=0)
        assert page.count('img') == page.count('img[src^="data:image/jpeg;base64,"]') == 3 * (2 + 9)
        assert page.tab.evaluate("""[...document.querySelectorAll('*')].flatMap((one) => [...one.attributes])
            .filter((one) => /^on/i.test(one.name)).length""") == 0
        assert page.tab.title() == f'Routing on {EVIL[3]}' and page.texts('h1') == [EVIL[3]]
        assert page.texts('#table tbody td:nth-child(2)') == [network.name for network in ranking.networks]
        assert page.texts('#table tbody td:nth-child(4)') == [network.bn for network in ranking.networks]
        assert page.texts('.cautions li')[-len(EVIL):] == [f'Shortcut: {text}' for text in EVIL]
        assert page.texts('#table th')[4:6] == [f'knn {EVIL[0]}', EVIL[2]]
        assert EVIL[1] in page.texts('.settings dt') and json.dumps(dict(a=EVIL)) in page.texts('.settings dd')
        alt = page.tab.evaluate('[...document.images].map((one) => one.alt)')
        assert set(alt[:2]) <= set(images)
        assert {text.split(', ')[0] for text in alt[2:11]} == {name.replace('/', '∕') for name in EVIL[:3]}
        titles = page.texts('svg.wide .mark title')
        assert any(EVIL[0] in text or EVIL[1] in text or EVIL[2] in text for text in titles)
    html = ranking._repr_html_()
    assert escape(EVIL[3]) in html and '<script' not in html and '<style>' not in html


@pytest.mark.browser
def test_characters_that_are_none_are_shown_by_their_codes(browser, tmp_path):
    ranking = made(2, 1)
    odd = Ranking.of('a\u202eb\udcffc\x00d\x1b', ranking.networks, ranking.settings, ranking.cost)
    with Page(browser, write(odd, tmp_path / 'page.html')) as page:
        assert page.texts('h1') == ['a\\u202eb\\udcffc\\x00d\\x1b']


@pytest.mark.browser
def test_the_page_forbids_what_it_does_not_need(browser, tmp_path):
    """Were something let through, it could neither run nor reach anything."""
    file = write(made(2, 1), tmp_path / 'page.html')
    file.write_text(file.read_text().replace('</main>', '<script>window.hit = 1</script><img src="http://127.0.0.1:9/x">'
                                             '<p style="color: red" onclick="window.hit = 1">x</p></main>'))
    with Page(browser, file) as page:
        page.tab.locator('main > p').click()
        assert page.tab.evaluate('window.hit') is None
        assert page.tab.evaluate('getComputedStyle(document.querySelector("main > p")).color') != 'rgb(255, 0, 0)'
        assert len(page.complaints) == 4 and all('Content Security Policy' in text for text in page.complaints)


def test_it_is_written_whole_or_not_at_all(tmp_path):
    ranking = made(2, 1)
    file = write(ranking, tmp_path / 'page.html')
    before = file.read_bytes()
    with pytest.raises(InputError, match='exists already'):
        write(ranking, file)
    far = Ranking.of('x', [RankedNetwork('sub-net 0', 0, [0], 'task', [1e300]),
                           RankedNetwork('super-net', None, None, 'task', [-1e300])], dict(SETTINGS, splits=1),
                     ranking.cost)
    with pytest.raises(InputError, match='too far apart'):
        routing_page(far, file, command='', galleries='', overwrite=True)
    assert file.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
    routing_page(ranking, file, command='other', galleries='none', overwrite=True)
    assert b'other' in file.read_bytes()


def test_the_thumbnails_of_any_images_stay_small(run, tmp_path):
    """Noise is what JPEG packs worst."""
    random, sdr = np.random.default_rng(0), sdr_mm.load(run / 'sdr.pth', device='cpu')
    for name, count in (('pool', 60), ('task/a', 10), ('task/b', 10)):
        (tmp_path / name).mkdir(parents=True)
        for number in range(count):
            noise = Image.fromarray(random.integers(0, 256, (96, 96, 3), dtype=np.uint8))
            noise.save(tmp_path / name / f'{number}.png')
    images = ImageFolder(str(tmp_path / 'pool'))
    Clusters(np.arange(60) % 4, np.eye(4, dtype=np.float32), np.array(list(SubnetSpace(2, 2).paths)), 2,
             fingerprint(image_names(images)), 'random').save(tmp_path / 'c.npz')
    sdr.report(Ranking.load(run / "r's.json"), tmp_path / 'page.html', task=tmp_path / 'task', data=tmp_path / 'pool',
               clusters=tmp_path / 'c.npz')
    text = (tmp_path / 'page.html').read_text()
    assert text.count('data:image/jpeg') == 72 and len(text) < 2e6
