"""Science on a trained network: activations, nearest images, similarity, specialization, gradients to images."""
