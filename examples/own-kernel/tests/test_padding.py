"""One test for each model and mode: the harness's plugin parametrizes it."""


def test_padding(padding_case, mode, hold):
    hold(padding_case, mode)
