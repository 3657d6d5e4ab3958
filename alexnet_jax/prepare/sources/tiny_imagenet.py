"""Tiny ImageNet as its owners ship it: validation images in one folder beside a list of their classes, and test
images without labels.
"""

from collections.abc import Mapping

from alexnet_jax.errors import UserError

VALIDATION_LIST = 'val_annotations.txt'  # its lines begin with the name of an image and its class


def sort_validation(found: Mapping[str, tuple], list_file: str, text: str, origin: str) -> tuple[dict[str, tuple], str]:
    """Return the images with val/images/ sorted into class folders and test/images/ left out, and a note of these.

    `found` is path -> location; `text` is the content of val/val_annotations.txt, whose path is `list_file`.
    Raises UserError if an image is not in the list.
    """
    fields = [line.split() for line in text.splitlines()]
    classes = {line[0]: line[1] for line in fields if len(line) > 1}
    val = list_file.removesuffix(VALIDATION_LIST)
    test = f'{val.removesuffix("val/")}test/images/'
    images, num_unlabeled = {}, 0
    for path, location in found.items():
        folder, _, name = path.rpartition('/')
        if path.startswith(test):
            num_unlabeled += 1
        elif folder != f'{val}images':
            images[path] = location
        elif name in classes:
            images[f'{val}{classes[name]}/{name}'] = location
        else:
            raise UserError(f'{origin}: {list_file} has no class for {path}; download it again.')
    return images, f' {num_unlabeled:,} test images without labels are left out.' if num_unlabeled else ''
