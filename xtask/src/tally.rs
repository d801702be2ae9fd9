//! What became of the tests: counted, and named where they did not run.

/// Who runs the tests and says how many there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runner {
    /// `cargo test`.
    Libtest,
    /// `cargo nextest run`.
    Nextest,
}

/// How many passed and failed, and the skipped ones with the reason.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    /// Which ones, as their runner names them.
    pub(crate) failures: Vec<String>,
    /// Name and reason.
    pub(crate) skipped: Vec<(String, String)>,
    /// Steps that failed as a whole, by name; each counts as one.
    pub(crate) broken: Vec<String>,
}

impl Tally {
    /// A step that is not a test: only its failure counts.
    pub(crate) fn step(&mut self, name: &str, success: bool) {
        if !success {
            self.broken.push(name.to_owned());
        }
    }

    /// Something that was not done, and why.
    pub(crate) fn skip(&mut self, name: impl Into<String>, reason: impl Into<String>) {
        self.skipped.push((name.into(), reason.into()));
    }

    /// Adds what a test runner said. Whether it said anything countable.
    ///
    /// Each runner is read by its own lines only: nextest shows what a failed test wrote, and that
    /// is libtest's count of one.
    pub(crate) fn add(&mut self, runner: Runner, output: &str) -> bool {
        let read = match runner {
            Runner::Libtest => libtest,
            Runner::Nextest => nextest,
        };
        let counts: Vec<(usize, usize, usize)> = output.lines().filter_map(read).collect();
        for &(passed, failed, unnamed) in &counts {
            self.passed += passed;
            self.failed += failed;
            for _ in 0..unnamed {
                self.skip("a test", "filtered out or ignored in the source");
            }
        }
        self.failures.extend(match runner {
            Runner::Libtest => libtest_failures(output),
            Runner::Nextest => nextest_failures(output),
        });
        !counts.is_empty()
    }

    /// Moves tests that passed because they could not begin to the skipped ones.
    ///
    /// A story that lacks its data writes `name<tab>reason` to the file that it was given, and
    /// returns: the runner counts it as passed, this does not.
    pub(crate) fn withdraw(&mut self, lines: &str) {
        for line in lines.lines() {
            let (name, reason) = line.split_once('\t').unwrap_or((line, "no reason given"));
            self.passed = self.passed.saturating_sub(1);
            self.skip(name, reason);
        }
    }

    /// Whether nothing failed.
    pub(crate) fn good(&self) -> bool {
        self.failed == 0 && self.broken.is_empty()
    }

    /// The end of a chore: what failed and what was skipped by name, then one line of counts.
    pub(crate) fn report(&self) -> String {
        let mut text = String::from("\n");
        for name in self.failures.iter().chain(&self.broken) {
            text.push_str(&format!("failed: {name}\n"));
        }
        for (name, reason) in &self.skipped {
            text.push_str(&format!("skipped: {name}: {reason}\n"));
        }
        let failed = self.failed + self.broken.len();
        let (passed, skipped) = (self.passed, self.skipped.len());
        text.push_str(&format!("{passed} passed, {failed} failed, {skipped} skipped"));
        text
    }
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s`
fn libtest(line: &str) -> Option<(usize, usize, usize)> {
    let (_, counts) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
    let count = |word| number_before(counts.split(';'), word);
    Some((count("passed"), count("failed"), count("ignored") + count("filtered out")))
}

/// `Summary [   0.1s] 3 tests run: 2 passed (1 slow, 1 leaky), 1 failed, 1 timed out, 0 skipped`
fn nextest(line: &str) -> Option<(usize, usize, usize)> {
    let (_, counts) = line.trim().strip_prefix("Summary [")?.split_once("run: ")?;
    let mut plain = String::new();
    let mut depth = 0;
    for letter in counts.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 => plain.push(letter),
            _ => {}
        }
    }
    let count = |word| number_before(plain.split(','), word);
    let failed = count("failed") + count("timed out") + count("exec failed");
    Some((count("passed"), failed, count("skipped")))
}

/// The names below the last `failures:` before each count.
fn libtest_failures(output: &str) -> Vec<String> {
    let (mut failures, mut listed) = (vec![], vec![]);
    for line in output.lines() {
        if line == "failures:" {
            listed.clear();
        } else if let Some(name) = line.strip_prefix("    ") {
            listed.push(name.to_owned());
        } else if line.starts_with("test result: ") {
            failures.append(&mut listed);
        }
    }
    failures
}

/// `TIMEOUT [   0.1s] (3/9) models::golden the_name`, of the lines behind the summary.
fn nextest_failures(output: &str) -> Vec<String> {
    let lines = output.lines().skip_while(|line| nextest(line).is_none()).skip(1);
    let named = lines.filter_map(|line| {
        let (how, rest) = line.trim().split_once(" [")?;
        let (_, name) = rest.split_once("] ")?;
        let name = name.split_once(") ").map_or(name, |(_, name)| name);
        how.chars().all(|it| it.is_ascii_uppercase()).then(|| name.trim().to_owned())
    });
    named.collect()
}

fn number_before<'a>(mut parts: impl Iterator<Item = &'a str>, word: &str) -> usize {
    parts
        .find_map(|part| {
            let (number, rest) = part.trim().split_once(' ')?;
            (rest.trim() == word).then(|| number.parse().ok())?
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_both_runners_say() {
        let mut tally = Tally::default();
        assert!(tally.add(
            Runner::Libtest,
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; \
             finished in 0.10s"
        ));
        assert!(tally.add(
            Runner::Nextest,
            "    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 63 filtered out\n     \
             Summary [   0.012s] 9 tests run: 6 passed (1 slow, 1 leaky), 1 failed, \
             1 timed out, 1 exec failed, 0 skipped\n        \
             FAIL [   0.008s] (2/9) stories::open_clients tritonclient\n     \
             TIMEOUT [   0.010s] models a::b\nerror: test run failed"
        ));
        assert_eq!((tally.passed, tally.failed), (9, 5));
        assert_eq!(tally.failures, ["stories::open_clients tritonclient", "models a::b"]);
        assert_eq!(tally.skipped, []);
        assert!(!tally.add(Runner::Libtest, "error: could not compile `models`"));
        assert!(!tally.good());
    }

    #[test]
    fn who_failed_is_named_beside_the_count() {
        let mut tally = Tally::default();
        tally.add(
            Runner::Libtest,
            "failures:\n\n---- a::b stdout ----\n    noise\n\nfailures:\n    a::b\n    src/c.rs - c (line 3)\n\n\
             test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
        );
        assert_eq!(
            tally.report(),
            "\nfailed: a::b\nfailed: src/c.rs - c (line 3)\n1 passed, 2 failed, 0 skipped"
        );
    }

    #[test]
    fn an_ignored_test_is_not_silent() {
        let mut tally = Tally::default();
        tally.add(
            Runner::Libtest,
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out",
        );
        assert_eq!(tally.skipped.len(), 3);
    }

    #[test]
    fn a_story_without_its_data_is_skipped_and_not_passed() {
        let mut tally = Tally { passed: 3, ..Tally::default() };
        tally.withdraw("hapt\tno data folder\nroom\tno data folder\n");
        assert!(tally.good());
        assert!(tally.report().ends_with(
            "skipped: hapt: no data folder\nskipped: room: no data folder\n1 passed, 0 failed, 2 skipped"
        ));
    }

    #[test]
    fn a_broken_step_fails_the_whole() {
        let mut tally = Tally { passed: 3, ..Tally::default() };
        tally.step("cargo fmt", true);
        assert!(tally.good());
        tally.step("cargo clippy", false);
        assert!(!tally.good());
        assert_eq!(tally.report(), "\nfailed: cargo clippy\n3 passed, 1 failed, 0 skipped");
    }
}
