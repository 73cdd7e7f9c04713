"""The model card says where a backbone comes from, and shows text of others as nothing but text."""

from dataclasses import replace

import pytest
import yaml
from exports import META, no_resnet, resnet
from markdown_it import MarkdownIt

from sdr_mm.export import FORMATS, Pretraining, model_card
from sdr_mm.export.model_card import code

EXPORTED = resnet(18, 8)
NASTY = ('---\nlicense: mit', '</li><script>alert(1)</script>', '`x` ``y`` ```', '![a](http://b/c.png)', '# big',
         'a\r\n\n# big\n', '| a | b |', '[x](javascript:alert(1))', 'https://example.org', '\u202egnp.exe', '\udcff',
         '`', '', '<!--', '&lt;b&gt;', '\\`*_{}', '> quote', '"\'', '- {a: [', '\0\x1b[31m', 'x' * 5000)


def parse(card):
    """The front matter, and for each block of the text what it is and what it says."""
    _, front, text = card.split('---\n', 2)
    markdown = MarkdownIt('commonmark', {'html': True}).enable(['table', 'strikethrough'])
    return yaml.safe_load(front), markdown.parse(text)


def kinds(tokens):
    return [(token.type, token.tag) for token in tokens]


def texts(tokens):
    """All that is shown, and where no markup can be: in code."""
    shown, plain = [], []
    for token in tokens:
        for part in token.children or [token]:
            (shown if part.type in ('code_inline', 'fence') else plain).append(part.content)
    return '\n'.join(shown), '\n'.join(plain)


def test_it_says_all_that_is_known():
    front, tokens = parse(model_card(resnet(18, 16, 16, license='Apache-2.0'), 'mmpretrain', 'work/backbone.pth'))
    assert front['license'] == 'apache-2.0' and front['library_name'] == 'mmpretrain' and 'sdr-mm' in front['tags']
    coded, plain = texts(tokens)
    for word in ('epoch_200.pth', '0,3', 'sweet_home', 'knn', '7', 'SimSiamSDR', 'photos', 'ImageFolder',
                 '120, 115, 100', '60, 55, 50', 'Apache-2.0', "'backbone.pth'", 'accuracy'):
        assert word in coded, word
    for word in ('ResNet-18 of width 16, sub-net 3', '128 features', '87.25', '1873 images', '200 epochs',
                 'short side to 37 px, bicubic; then the center of 32 × 32 px', f'{702_096:,}'):
        assert word in plain, word
    assert 'work/' not in coded + plain


@pytest.mark.parametrize('license, front', [
    (None, {}), ('MIT', dict(license='mit')), ('CC-BY-NC-SA-4.0', dict(license='cc-by-nc-sa-4.0')),
    ('LicenseRef-Mine', dict(license='other', license_name='licenseref-mine')),
    ('For research only.\nAsk us: a@b.c', dict(license='other')), ('no', dict(license='other', license_name='no')),
    ('mit\nlicense: gpl-3.0', dict(license='other'))])
def test_no_license_is_invented(license, front):
    found, tokens = parse(model_card(resnet(license=license), 'onnx', 'x.onnx'))
    assert {key: value for key, value in found.items() if key.startswith('license')} == front
    coded, plain = texts(tokens)
    assert (' '.join(license.split()) in coded) if license else ('has to state the license' in plain)


def test_what_the_checkpoint_says_of_its_license_is_quoted():
    known = Pretraining('SimCLRSDR', 8, None, None, 'Apache-2.0, as the code.', 'Emoji: Google.\nAnimals: S. M.\n')
    coded, plain = texts(parse(model_card(resnet(pretraining=known), 'timm', 'x'))[1])
    assert 'Apache-2.0, as the code.' in coded and 'Emoji: Google.\nAnimals: S. M.' in '\n'.join(
        line for line in coded.splitlines() if line)
    assert 'The checkpoint that it was cut out of says' in plain and 'has to state the license' in plain


def test_sub_nets_without_a_task_and_statistics_of_others_are_told_apart():
    def origin(**meta):
        tokens = parse(model_card(resnet(meta=dict(META, **meta)), 'timm', 'x'))[1]
        return '\n'.join(texts(tokens))

    assert 'none, it was chosen by its number or path' in origin(routing=None)
    for statistics, words in (('task', 'training images of the task'), ('pool', 'measured on images of pre-training'),
                              ('own', 'mixture of those of all sub-nets'), ('cluster 12', 'measured on cluster')):
        assert words in origin(bn_reset=dict(statistics=statistics, images=9)), statistics
    assert '**' not in origin() and 'none' in origin(routing=dict(task='x', score=None))
    assert 'logme' in origin(routing=dict(task='x', score=1.5, settings=dict(columns=['logme'])))


@pytest.mark.parametrize('text', NASTY, ids=range(len(NASTY)))
def test_text_of_others_breaks_neither_yaml_nor_markdown(text, tmp_path):
    line = text.strip().splitlines()[0] if text.strip() else 'e'
    meta = dict(META, sdr_checkpoint=text, routing=dict(META['routing'], task=text, settings=dict(columns=[text])))
    nasty = replace(EXPORTED, meta=meta, pretraining=Pretraining(text or 'a', 1, text or 'b', text or 'c', text or 'd',
                                                                 line))
    usual = replace(EXPORTED, meta=dict(META, routing=dict(META['routing'], settings=dict(columns=['score']))),
                    pretraining=Pretraining('a', 1, 'b', 'c', 'd', 'e'))
    for license in (text or 'x', None):
        file = tmp_path / 'card.md'
        # Written and read again, as it cannot be if it holds half a character.
        file.write_text(model_card(replace(nasty, license=license), 'onnx', f'{text}.onnx'), encoding='utf-8')
        front, tokens = parse(file.read_text(encoding='utf-8'))
        wanted, model = parse(model_card(replace(usual, license=license and 'a text'), 'onnx', 'x.onnx'))
        front.pop('license_name', None)
        assert front == wanted and kinds(tokens) == kinds(model)
        assert {part.type for token in tokens for part in token.children or []} == {'text', 'code_inline'}
        assert '<script' not in texts(tokens)[1] and 'example.org' not in texts(tokens)[1]


def test_code_shows_any_text_of_one_line_as_it_is():
    for text in ('a', '`', '``', 'a`b', '`a`', '```python', 'a``b`', '\\', '|', '<b>', '&amp;', '日本'):
        (_, inline, _) = MarkdownIt('commonmark').parse(code(text))
        assert [(part.type, part.content) for part in inline.children] == [('code_inline', text)]
    assert code('x' * 500) == f'`{"x" * 198} …`' and code('a\u2028b\tc') == '`a b c`'


@pytest.mark.parametrize('format', FORMATS)
def test_every_format_has_a_card(format):
    make = [resnet(50, 8, 64)] if format in ('mmdet', 'torchvision', 'timm', 'huggingface') else [
        resnet(50, 8, 64), no_resnet()]
    for exported in make:
        front, tokens = parse(model_card(exported, format, 'x'))
        assert front['pipeline_tag'] == 'image-feature-extraction' and front['library_name']
        assert sum(token.type == 'fence' for token in tokens) >= 1
        assert [token.content for token in tokens if token.type == 'inline' and token.level == 1][0].startswith(
            'ResNet-50 of width 8' if exported is make[0] else 'OneConvolution')
