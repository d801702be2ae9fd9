//! What it costs: kernels, serving, placement. The benches are under `benches/`, what was measured
//! stands in `README.md`.
