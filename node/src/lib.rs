//! The process on a device: measures it, keeps a lease, supervises its workers.
