//! The scheduler: which device does what, and why.
//!
//! Pure rules (`policy`, `task_file`, `fleet`, `rtt`, `latency`, `admission`, `placement`, `release`,
//! `retrain`, `jobs`) say what should be; two actors own what is: the registry everything that is
//! written down, the controller everything that is measured. The services are what others see.

pub mod policy;
pub mod task_file;

pub mod admission;
pub mod fleet;
pub mod jobs;
pub mod latency;
pub mod placement;
pub mod release;
pub mod retrain;
pub mod rtt;
