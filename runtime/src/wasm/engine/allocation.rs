//! How jobs get their memory: from the pool, or from the kernel.

use std::fmt;

use super::settings::Resetting;

/// How jobs get their memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Allocation {
    /// Each job takes a slot of a pool, which is reserved once: the fast way. Holds what the pool resets.
    Pooled(Resetting),
    /// Each job gets fresh memory from the kernel, because the pool could not be reserved. Holds the reason. Such
    /// jobs start about eight times slower, and each access is compared with the end of the memory.
    OnDemand(String),
}

impl Allocation {
    /// The values that the metric uses for the modes.
    pub const MODES: [&str; 3] = ["pooled", "pooled_reset_whole", "on_demand"];

    /// Returns its value in [`Allocation::MODES`].
    pub fn mode(&self) -> &'static str {
        let [written, whole, on_demand] = Allocation::MODES;
        match self {
            Allocation::Pooled(Resetting::Written) => written,
            Allocation::Pooled(Resetting::Whole) => whole,
            Allocation::OnDemand(_) => on_demand,
        }
    }
}

impl fmt::Display for Allocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Allocation::Pooled(Resetting::Written) => f.write_str("pooled"),
            Allocation::Pooled(Resetting::Whole) => f.write_str(
                "pooled, all memory reset after each job (the kernel does not report written pages: needs Linux 6.7, no KSM)",
            ),
            Allocation::OnDemand(why) => write!(f, "on demand ({why})"),
        }
    }
}
