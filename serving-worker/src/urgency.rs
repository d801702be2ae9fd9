//! How urgent a request is: the `priority` of the Open Inference Protocol, in three steps.

/// The more urgent is the smaller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// Priority 1.
    High,
    /// Priority 2, and 0, which is what who says nothing says.
    #[default]
    Usual,
    /// Priority 3 and more.
    Low,
    /// The next sample of a stream, which is read when there is room for it and therefore never
    /// refused: what came by itself goes first.
    HeldBack,
}

impl Urgency {
    /// What Triton's `priority` means: 1 is the most urgent, 0 is the usual.
    pub(crate) fn of_priority(priority: u64) -> Self {
        match priority {
            1 => Self::High,
            0 | 2 => Self::Usual,
            _ => Self::Low,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_the_most_urgent_and_nothing_said_is_usual() {
        let urgencies = [1, 0, 2, 3, u64::MAX].map(Urgency::of_priority);
        let [high, unsaid, usual, low, lowest] = urgencies;
        assert!(high < usual && unsaid == usual && usual < low && low == lowest);
        assert!(lowest < Urgency::HeldBack);
        assert_eq!(unsaid, Urgency::default());
    }
}
