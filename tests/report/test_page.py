"""The page about a run: whole, escaped, without network or script, readable in light and dark, in a browser too."""

import html.parser
import re
from pathlib import Path

import browser
import numpy as np
import pytest
from PIL import Image

pytest.importorskip('jinja2', reason='requirements-report.txt is not installed')

from alexnet_jax.errors import UserError
from alexnet_jax.report import page
from alexnet_jax.report.class_errors import ClassErrors
from alexnet_jax.report.page import Comparison, RunPage, Tile

MARKUP = '</style><script>document.title = "taken"</script><img src=x onerror=alert(1)>"\' {{ 7 * 7 }} & Co'
STYLE = (Path(page.__file__).parent / 'page.css').read_text()
PROSE = 'A sentence that is longer than a narrow screen is wide, and so has to go on in the next line of it. '


def make_picture(tmp_path, name='picture'):
    file = tmp_path / 'picture.png'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 900, 3), np.uint8)).save(file)
    return page.embed_picture(file, title=name, alt=f'What {name} shows', caption=f'A caption of {name}')


def make_tiles(count, name):
    pixels = np.random.default_rng(1).integers(0, 256, (count, 64, 64, 3), np.uint8)
    return [
        Tile(page.embed_image(each), f'Image {place}, {name}', (f'{name} 97 %', 'is another'), bool(place % 2))
        for place, each in enumerate(pixels)
    ]


def make_run(tmp_path, classes=10, name='quickstart', class_name='class'):
    """A page with every section; nothing in it is measured."""
    picture = make_picture(tmp_path)
    names = [f'{class_name} {number}' for number in range(classes)]
    return RunPage(
        name=name,
        verdict=PROSE,
        notes=[PROSE],
        numbers=[('top-1 error', '17.9 %', '95 % interval 15.6 % to 20.4 %'), ('loss', '0.606', '')],
        curves=picture,
        class_errors=[
            ClassErrors(each, 100, 1 - place % 100 / 100, 0.1, names[0], 3) for place, each in enumerate(names)
        ],
        errors_note=PROSE,
        confusion=picture,
        right_tiles=make_tiles(4, class_name),
        wrong_tiles=make_tiles(4, class_name),
        neighbors=[make_tiles(6, class_name)],
        neighbors_note=PROSE,
        kernels=picture,
        drawing=picture,
        differences=[('train.learning_rate', '0.08', '0.01', "the paper's epsilon")],
        fields=[(f'section.field{number}', 'x' * 80) for number in range(40)],
        phases=[('step', '8:12 min', 0.9), ('compile', '4 s', 0.1)],
        time_note=PROSE,
        versions=[('jax', '0.10.2')],
        commands=[('2026-11-29 00:00:00', 'main.py --workdir=/a/very/long/path' + '/deeper' * 30)],
    )


def render(*runs, comparison=None):
    return page.render_page(runs, title='The run', subtitle='/runs/one', footer='Made here.', comparison=comparison)


def make_comparison(tmp_path, names):
    return Comparison(
        verdict=PROSE,
        names=names,
        columns=('run', 'top-1 error', '95 % interval', 'top-5 error', 'loss', 'measured on', 'epochs', 'training'),
        rows=[
            (name, '17.9 %', '15.6 % to 20.4 %', '5.1 %', '0.606', '1,000 test, ten views', '15', '8:54 min')
            for name in names
        ],
        curves=make_picture(tmp_path),
        differences=[('train.learning_rate', *('0.01' for _ in names))],
    )


class Reader(html.parser.HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ''
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def test_names_are_escaped_wherever_they_stand(tmp_path):
    read = Reader(render(make_run(tmp_path, classes=40, name=MARKUP, class_name=MARKUP)))
    assert not {tag for tag, _ in read.tags} & {'script', 'iframe', 'object'}
    assert all(not name.startswith('on') for _, attributes in read.tags for name in attributes)
    assert f'{MARKUP} 7' in read.text and '{{ 7 * 7 }}' in read.text
    assert any(MARKUP in (attributes.get('alt') or '') for _, attributes in read.tags)


def test_all_is_inside_the_page_and_pictures_have_texts(tmp_path):
    runs = [make_run(tmp_path, name=name) for name in ('one', 'two')]
    for text in (render(runs[0]), render(*runs, comparison=make_comparison(tmp_path, ('one', 'two')))):
        read = Reader(text)
        images = [attributes for tag, attributes in read.tags if tag == 'img']
        assert len(images) > 10 and all(each['src'].startswith('data:image/') and each['alt'] for each in images)
        addresses = [attributes[name] for _, attributes in read.tags for name in ('src', 'href') if name in attributes]
        assert all(address.startswith(('data:', '#')) for address in addresses)
        assert 'url(' not in text and '@import' not in text
        identifiers = [attributes['id'] for _, attributes in read.tags if 'id' in attributes]
        assert len(set(identifiers)) == len(identifiers)
        assert {address[1:] for address in addresses if address.startswith('#')} <= set(identifiers)


def test_what_a_run_lacks_is_left_out():
    text = render(RunPage(name='new', verdict='Not evaluated yet.'))
    sections = [attributes['id'] for tag, attributes in Reader(text).tags if tag == 'section']
    assert sections == ['result', 'config', 'versions'] and 'Not evaluated yet.' in text


def test_of_a_thousand_classes_few_are_in_sight_and_all_are_there(tmp_path):
    text = render(make_run(tmp_path, classes=1000))
    before, _, folded = text.partition('All 1,000 classes')
    shown = set(re.findall(r'<th scope="row">(class \d+)</th>', before))
    assert len(shown) == 18
    assert set(re.findall(r'<th scope="row">(class \d+)</th>', folded)) == {f'class {number}' for number in range(1000)}


def test_without_jinja_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(page.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match=r'jinja2, which is not installed: pip install -r requirements-report\.txt'):
        page.require_jinja()
    assert (Path(page.__file__).parents[2] / page.REQUIREMENTS).is_file()


def read_schemes():
    """The colors of the style by name: light, dark and print."""
    blocks = re.findall(r':root \{(.*?)\}', STYLE, re.DOTALL)
    light, dark, printed = (dict(re.findall(r'--([\w-]+): (#[0-9a-f]{6});', block)) for block in blocks)
    return {'light': light, 'dark': light | dark, 'print': light | printed}


def luminance(color):
    """Relative luminance of WCAG 2.1."""
    channels = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first, second):
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_ratio_is_that_of_the_standard():
    assert contrast('#000000', '#ffffff') == pytest.approx(21)
    assert contrast('#777777', '#ffffff') == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize('scheme', ['light', 'dark', 'print'])
def test_texts_and_bars_stand_out_from_what_is_behind_them(scheme):
    colors = read_schemes()[scheme]
    for behind in ('background', 'surface'):
        for text in ('text', 'muted', 'link', 'right', 'wrong'):
            assert contrast(colors[text], colors[behind]) >= 4.5, (text, behind)
        for bar in ('bar', 'phase'):
            assert contrast(colors[bar], colors[behind]) >= 3, (bar, behind)


# Of every text on the page: its color and the first opaque color behind it. One script of the test, none of the page.
COLORS = """
(() => {
  const seen = new Map();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    if (!walker.currentNode.data.trim()) continue;
    let element = walker.currentNode.parentElement;
    const text = getComputedStyle(element).color;
    let behind = 'rgba(0, 0, 0, 0)';
    for (; element && behind === 'rgba(0, 0, 0, 0)'; element = element.parentElement)
      behind = getComputedStyle(element).backgroundColor;
    seen.set(text + '|' + behind, walker.currentNode.data.trim().slice(0, 40));
  }
  return [...seen.keys()];
})()
"""
# What sticks out of the window to the right, and is in no box that scrolls.
WIDE = """
[...document.querySelectorAll('body *')].filter(element =>
  element.getBoundingClientRect().right > innerWidth + 1
  && !element.closest('.picture, .table, .tiles.row, details:not([open])')
).map(element => element.outerHTML.slice(0, 100))
"""
BROKEN = '[...document.images].filter(image => !image.complete || !image.naturalWidth).length'


def to_hex(color):
    return '#' + ''.join(f'{int(part):02x}' for part in re.findall(r'\d+', color)[:3])


@pytest.fixture(scope='module')
def chromium(tmp_path_factory):
    if not browser.CHROMIUM:
        pytest.skip('there is no Chromium')
    with browser.open_browser(tmp_path_factory.mktemp('profile')) as opened:
        yield opened


PAGES = {
    'whole': lambda folder: render(make_run(folder)),
    'a thousand classes': lambda folder: render(make_run(folder, classes=1000)),
    'markup in names': lambda folder: render(make_run(folder, classes=40, name=MARKUP, class_name=MARKUP)),
    'not evaluated': lambda folder: render(RunPage(name='new', verdict=PROSE, versions=[('jax', '0.10.2')])),
    'compared': lambda folder: render(
        *(make_run(folder, name=name) for name in ('one', 'two', 'three')),
        comparison=make_comparison(folder, ('one', 'two', 'three')),
    ),
}  # fmt: skip


@pytest.mark.extended
@pytest.mark.parametrize('kind', PAGES)
def test_a_browser_shows_it_at_three_widths_in_light_in_dark_and_on_paper(kind, chromium, tmp_path):
    file = tmp_path / 'report.html'
    file.write_text(PAGES[kind](tmp_path))
    for width in (390, 820, 1440):
        chromium.show_as(width=width)
        chromium.open(file.as_uri())
        assert chromium.requests() == [file.as_uri()] and chromium.complaints() == []
        assert chromium.run(BROKEN) == 0 and chromium.run('document.title') == 'The run'
        assert chromium.run('document.documentElement.scrollWidth') <= width and chromium.run(WIDE) == []
    for scheme, media in (('light', 'screen'), ('dark', 'screen'), ('dark', 'print')):
        chromium.show_as(scheme=scheme, media=media)
        pairs = [pair.split('|') for pair in chromium.run(COLORS)]
        assert len(pairs) >= 2
        for text, behind in pairs:
            if behind == 'rgba(0, 0, 0, 0)':  # the paper
                behind = 'rgb(255, 255, 255)'
            assert contrast(to_hex(text), to_hex(behind)) >= 4.5, (scheme, media, text, behind)
