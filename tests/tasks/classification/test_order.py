"""Labels in another order than the model's are refused; poor models are not."""

import numpy as np
import pytest

from equiaudit.errors import InputError
from equiaudit.tasks.classification.order import refuse_another_order

LABELS = np.repeat(np.arange(4), 12)


@pytest.mark.parametrize("order", [(0, 2, 1, 3), (0, 2, 3, 1), (1, 0, 3, 2)])
def test_classes_that_changed_places_are_named(order):
    moved = [label for label, place in enumerate(order) if label != place]
    with pytest.raises(InputError, match=f"class {moved[0]} for {order[moved[0]]}") as caught:
        refuse_another_order(np.array(order)[LABELS], LABELS)
    assert "--class-names FILE" in (caught.value.tip or "")


def test_a_part_of_the_images_may_be_mistaken():
    clean = np.array([0, 2, 1, 3])[LABELS]
    clean[::4] = 0
    with pytest.raises(InputError):
        refuse_another_order(clean, LABELS)


def test_poor_models_pass():
    rng = np.random.default_rng(0)
    refuse_another_order(np.zeros_like(LABELS), LABELS)  # one class for all
    refuse_another_order(np.array([1, 1, 3, 3])[LABELS], LABELS)  # 0 for 1, which is right
    refuse_another_order(np.array([1, 2, 3, 3])[LABELS], LABELS)  # a chain that does not return
    for _ in range(300):
        refuse_another_order(rng.integers(0, 4, LABELS.size), LABELS)


def test_two_of_many_classes_that_look_alike_pass():
    labels = np.repeat(np.arange(100), 6)
    clean = labels.copy()
    clean[labels == 7], clean[labels == 8] = 8, 7
    refuse_another_order(clean, labels)
    refuse_another_order(np.full(3, 1), np.array([0, 0, 1]))
    refuse_another_order(np.zeros(0, int), np.zeros(0, int))
