"""Batches that do not fit into the accelerator's memory."""

import pytest
import torch
from small import dataset, small_model, small_net, write_images

from equiaudit.audit.engine import run_scan
from equiaudit.audit.options import ScanOptions
from equiaudit.errors import RunError

OPTIONS = ScanOptions(shifts=("circular",), max_shift=2, offsets=3, images=False)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return dataset(write_images(tmp_path_factory.mktemp("few"), 9, size=(16, 16)))


def limited(most):
    """A model that holds batches of up to `most` images."""
    net = small_net()

    def run(batch):
        if len(batch) > most:
            raise torch.OutOfMemoryError("out of memory")
        return net(batch).float()

    return small_model(run)


def test_the_batch_is_halved_until_it_fits(images):
    whole, _ = run_scan(small_model(), images, OPTIONS)
    halved, _ = run_scan(limited(6), images, OPTIONS)
    assert (whole.result.timings.batch_size, halved.result.timings.batch_size) == (32, 4)
    assert halved.result.fingerprint == whole.result.fingerprint
    agreement = "circular.agreement"
    assert halved.result.metric(agreement) == whole.result.metric(agreement)


def test_a_model_that_holds_no_image_is_one_sentence(images):
    with pytest.raises(RunError, match="not even one image at a time"):
        run_scan(limited(0), images, OPTIONS)
