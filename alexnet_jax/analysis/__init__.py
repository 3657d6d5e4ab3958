"""Science on a trained network: its activations as arrays, nearest images, similarity of representations."""
