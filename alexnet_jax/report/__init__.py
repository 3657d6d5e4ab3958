"""What a run, a dataset or a benchmark tells: files, tables, plots."""
