//! Which device does what: fleet, policy, placement, registry of revisions.
