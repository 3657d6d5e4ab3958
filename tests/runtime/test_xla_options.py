import logging

import jax
import numpy as np

from alexnet_jax.runtime import xla_options
from alexnet_jax.runtime.xla_options import compiler_options


def test_compiler_options_are_taken_by_jit_and_change_no_value():
    x = np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 6)
    product = jax.jit(lambda x: x @ x.T, compiler_options=compiler_options(True))
    np.testing.assert_allclose(product(x), x @ x.T, rtol=1e-6, atol=1e-6)
    assert compiler_options(False) == {}


def test_compiler_options_are_dropped_with_a_word_where_jaxlib_does_not_know_them(monkeypatch, caplog):
    monkeypatch.setattr(xla_options, '_PRODUCTS_AND_SUMS', {'xla_no_such_option': 'yes'})
    with caplog.at_level(logging.WARNING):
        assert compiler_options(True) == {}
    assert 'machine.ynnpack_dots_only: off' in caplog.text and 'xla_no_such_option' in caplog.text


def test_compiler_options_are_for_cpus_alone(monkeypatch):
    monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
    assert compiler_options(True) == {}
