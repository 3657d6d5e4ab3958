"""Ablations of the paper and of the notes in the 2012 source, each as its difference from run 145."""
