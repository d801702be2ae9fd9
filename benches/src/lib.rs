//! What it costs: kernels, serving, placement..
