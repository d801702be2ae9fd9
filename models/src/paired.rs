//! Two answerers on the same rows: is one better, or was it luck?

/// Rows on which exactly one of two was right. Rows that both or neither got say nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paired {
    /// Only the first was right.
    pub only_a: u64,
    /// Only the second was right.
    pub only_b: u64,
}

impl Paired {
    /// Counts the rows that tell the two apart.
    pub fn of<T: PartialEq>(truth: &[T], a: &[T], b: &[T]) -> Self {
        truth.iter().zip(a.iter().zip(b)).fold(Self::default(), |mut paired, (truth, (a, b))| {
            paired.only_a += u64::from(a == truth && b != truth);
            paired.only_b += u64::from(a != truth && b == truth);
            paired
        })
    }

    /// How likely a difference at least this large is, in either direction, if both are equally
    /// good. 1 when nothing tells them apart.
    ///
    /// # Source
    ///
    /// McNemar's test in its exact mid-p form: half of the probability of what was seen itself is
    /// left out, without which the exact test refuses too seldom (Fagerland, Lydersen and Laake,
    /// 2013).
    #[must_use]
    pub fn mid_p(self) -> f64 {
        let fewer = self.only_a.min(self.only_b);
        (2.0 * lower_mid_tail(fewer, self.only_a.saturating_add(self.only_b))).min(1.0)
    }

    /// How likely it is that the first looks at least this much *worse*, if both are equally good:
    /// small when it really is worse. One direction only.
    ///
    /// This is what a release asks: a candidate `a` is refused when this is below a bound.
    #[must_use]
    pub fn mid_p_worse(self) -> f64 {
        let of = self.only_a.saturating_add(self.only_b);
        if self.only_a <= self.only_b {
            lower_mid_tail(self.only_a, of)
        } else {
            1.0 - lower_mid_tail(self.only_b, of)
        }
    }
}

/// `P(X < k) + P(X = k) / 2` for `X` binomial of `n` fair coins and `2k <= n`.
fn lower_mid_tail(k: u64, n: u64) -> f64 {
    let (k, n) = (float(k), float(n));
    let mut term =
        (ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k) - n * std::f64::consts::LN_2)
            .exp();
    let mut sum = term / 2.0;
    let mut at = k;
    // Each term is the one above it times at / (n - at + 1) < 1: stop when they no longer count.
    while 0.0 < at && sum * 1e-17 < term {
        term *= at / (n - at + 1.0);
        sum += term;
        at -= 1.0;
    }
    sum.min(0.5)
}

/// `ln n!`: exact products for small numbers, Stirling's series above.
fn ln_factorial(n: f64) -> f64 {
    if n < 20.0 {
        let mut product = 1.0;
        let mut factor = n;
        while 1.0 < factor {
            product *= factor;
            factor -= 1.0;
        }
        return product.ln();
    }
    let series = 1.0 / (12.0 * n) - 1.0 / (360.0 * n * n * n) + 1.0 / (1260.0 * n.powi(5));
    n * n.ln() - n + 0.5 * (2.0 * std::f64::consts::PI * n).ln() + series
}

#[expect(clippy::cast_precision_loss, reason = "counts of rows; exact below 2⁵³")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, term by term.
    fn by_definition(only_a: u64, only_b: u64) -> f64 {
        let (k, n) = (only_a.min(only_b), only_a + only_b);
        let mut ways = 1.0_f64;
        let mut tail = 0.0;
        for at in 0..=k {
            tail += if at == k { ways / 2.0 } else { ways };
            ways *= float(n - at) / float(at + 1);
        }
        (2.0 * tail / 2.0_f64.powi(i32::try_from(n).unwrap())).min(1.0)
    }

    #[test]
    fn known_tables_give_the_published_values() {
        // Fagerland et al. (2013), table 1: 1 and 7 discordant pairs give mid-p 0.0391.
        assert!((Paired { only_a: 1, only_b: 7 }.mid_p() - 0.0391).abs() < 5e-5);
        assert_eq!(Paired::default().mid_p(), 1.0);
        assert_eq!(
            Paired::of(&[1, 1, 1, 1], &[1, 1, 2, 2], &[1, 2, 1, 2]),
            Paired { only_a: 1, only_b: 1 }
        );
    }

    #[test]
    fn many_rows_are_no_harder_than_few() {
        let even = Paired { only_a: 500_000_000, only_b: 500_000_000 };
        assert!((even.mid_p() - 1.0).abs() < 1e-3);
        let worse = Paired { only_a: 499_000_000, only_b: 501_000_000 };
        assert!(worse.mid_p() < 1e-12 && worse.mid_p_worse() < 1e-12);
        assert!(Paired { only_a: u64::MAX, only_b: u64::MAX }.mid_p() <= 1.0);
    }

    proptest! {
        #[test]
        fn the_probability_is_that_of_the_definition(only_a in 0_u64..400, only_b in 0_u64..400) {
            let paired = Paired { only_a, only_b };
            let expected = by_definition(only_a, only_b);
            prop_assert!((paired.mid_p() - expected).abs() <= 1e-9 + 1e-9 * expected);
            let turned = Paired { only_a: only_b, only_b: only_a };
            prop_assert!((paired.mid_p() - turned.mid_p()).abs() < 1e-12);
            prop_assert!((paired.mid_p_worse() + turned.mid_p_worse() - 1.0).abs() < 1e-9);
        }
    }
}
