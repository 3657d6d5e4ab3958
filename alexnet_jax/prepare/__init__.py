"""Build time: images in any form become a dataset."""
