//! Stories over real processes, and the architecture as a test..
