//! Steps: what one check comes to, and how a list of them is shown.

use std::io::Write as _;
use std::time::Instant;

/// What was wrong: lines that read alone, `file:line: what` where there is a place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The lines, in order.
    pub(crate) lines: Vec<String>,
}

impl Problem {
    /// A problem of one or several lines.
    pub(crate) fn new(text: impl Into<String>) -> Problem {
        Problem { lines: text.into().lines().map(str::to_owned).collect() }
    }

    /// What went wrong while `doing`, with its cause.
    pub(crate) fn while_doing(doing: &str, cause: &dyn std::error::Error) -> Problem {
        Problem::new(format!("{doing}: {cause}"))
    }
}

/// A note for people, or nothing, when all is well.
pub(crate) type StepResult = Result<String, Problem>;

/// A fine end when there are no findings, a problem otherwise.
pub(crate) fn findings(lines: Vec<String>, note: String) -> StepResult {
    if lines.is_empty() { Ok(note) } else { Err(Problem { lines }) }
}

/// A step that has not run yet, with its name.
pub(crate) type Step<'s> = (&'s str, Box<dyn FnOnce() -> StepResult + 's>);

/// Runs every step, also after one has failed, prints a line for each, and fails when any failed.
pub(crate) fn run_all(steps: Vec<Step<'_>>) -> StepResult {
    let count = steps.len();
    let mut failed = Vec::new();
    for (name, step) in steps {
        let begun = Instant::now();
        let result = step();
        let took = begun.elapsed().as_secs_f64();
        let (word, note, detail) = match result {
            Ok(note) => ("ok", note, Vec::new()),
            Err(problem) => {
                failed.push(name);
                ("FAILED", String::new(), problem.lines)
            }
        };
        println!("{}", format!("{name:<14} {word:<8} {took:>7.1} s  {}", one_line(&note)).trim_end());
        for line in detail {
            println!("    {line}");
        }
        // A pipe is block-buffered; whoever watches CI wants each line when it is true.
        let _ = std::io::stdout().flush();
    }
    if failed.is_empty() {
        Ok(format!("all {count} steps are fine"))
    } else {
        Err(Problem::new(format!("{} of {count} steps failed: {}", failed.len(), failed.join(", "))))
    }
}

fn one_line(note: &str) -> String {
    note.lines().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_does_not_stop_the_later_ones() {
        let ran = std::cell::Cell::new(0);
        let count = |result: StepResult| {
            ran.set(ran.get() + 1);
            result
        };
        let result = run_all(vec![
            ("first", Box::new(|| count(Err(Problem::new("broken"))))),
            ("second", Box::new(|| count(Ok(String::new())))),
        ]);
        assert_eq!(ran.get(), 2);
        assert_eq!(result, Err(Problem::new("1 of 2 steps failed: first")));
    }
}
