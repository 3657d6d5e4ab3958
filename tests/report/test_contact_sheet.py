"""The contact sheet: which classes it shows, and that it is a picture."""

import numpy as np
from PIL import Image

from alexnet_jax.report.plots import contact_sheet, style


def test_few_classes_are_all_shown_and_of_many_those_from_the_smallest_to_the_largest():
    assert contact_sheet.select_classes([5, 3, 9]) == [0, 1, 2]
    counts = np.random.default_rng(0).permutation(1000)
    shown = contact_sheet.select_classes(counts)
    assert len(shown) == contact_sheet.MAX_CLASSES and counts[shown[0]] == 0 and counts[shown[-1]] == 999
    assert (np.diff(counts[shown]) > 0).all()


def test_the_sheet_shows_each_image_and_the_mean(tmp_path):
    red, mean = np.full((8, 8, 3), (250, 10, 10), np.uint8), np.full((8, 8, 3), (10, 20, 240), np.float32)
    rows = [contact_sheet.ClassRow('cat', 3, [red] * 3), contact_sheet.ClassRow('$dog$', 0, [])]
    contact_sheet.draw_contact_sheet(rows, mean, 3, tmp_path / 'c.png', title='pets', subtitle='all')
    pixels = np.asarray(Image.open(tmp_path / 'c.png').convert('RGB')).reshape(-1, 3)
    side, larger = contact_sheet.IMAGE_SIZE * style.DPI, contact_sheet.MEAN_SIZE * style.DPI
    assert abs((pixels == (250, 10, 10)).all(1).sum() / (3 * side**2) - 1) < 0.05
    assert abs((pixels == (10, 20, 240)).all(1).sum() / larger**2 - 1) < 0.05
