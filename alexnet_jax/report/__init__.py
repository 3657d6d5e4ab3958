"""Reports: the result of a run, tables of benchmarks and memory, plots."""
