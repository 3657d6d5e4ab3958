"""Our figure beside the published one: the differences, and what is not the same."""

from alexnet_jax.report import paper_comparison
from alexnet_jax.report.paper_comparison import MeasuredError

PUBLISHED = MeasuredError(0.40664, 0.1821, 10, 'validation images of ILSVRC 2012', 50_000)


def test_the_table_has_both_figures_and_their_difference(tmp_path):
    ours = MeasuredError(0.42, 0.18, 10, 'validation images of data', 50_000)
    text = paper_comparison.compare_errors('source145', ours, PUBLISHED, [])
    assert paper_comparison.write_comparison(tmp_path, text).read_text() == text
    assert '| published | 50,000 validation images of ILSVRC 2012 | ten views | 40.66 % | 18.21 % |' in text
    assert '| ours | 50,000 validation images of data | ten views | 42.00 % | 18.00 % |' in text
    assert (
        '| difference, points | | | +1.34 | -0.21 |' in text
        and 'As many images and classes, and the same views.' in text
    )


def test_what_is_not_the_same_is_said_and_what_was_not_published_left_open():
    ours = MeasuredError(0.5, 0.25, 'center,0:0', 'test images of photographs', 20)
    published = PUBLISHED._replace(top5=None, views=1)
    text = paper_comparison.compare_errors('caffe', ours, published, ['other images', 'other views'])
    assert 'Not the same: other images.\nNot the same: other views.' in text and '| - |' in text and '2 views' in text
    sentence = paper_comparison.describe_comparison(ours, published, ['other images'])
    assert sentence == (
        'Published: 40.66 % top-1 and - top-5 error; ours differs by +9.34 and - points (not the same: other images).'
    )
