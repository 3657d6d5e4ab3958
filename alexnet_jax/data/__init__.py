"""Run time: a prepared dataset becomes batches on the devices."""
