//! Other programs: run without standard input, so that nothing ever waits for a person.

use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::steps::Problem;

/// What a program left.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A cargo command of the toolchain that runs this workshop.
pub(crate) fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words);
    command
}

/// Runs a program to its end and keeps all that it wrote.
pub(crate) fn run(command: &mut Command) -> Result<Left, Problem> {
    let left = command
        .stdin(Stdio::null())
        .output()
        .map_err(|cause| Problem::while_doing(&format!("starting {}", shown(command)), &cause))?;
    Ok(Left {
        status: left.status,
        stdout: String::from_utf8_lossy(&left.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&left.stderr).into_owned(),
    })
}

/// Runs a program that must succeed and hands over what it wrote to standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, Problem> {
    let left = run(command)?;
    if left.status.success() {
        return Ok(left.stdout);
    }
    let said = if left.stderr.trim().is_empty() { left.stdout } else { left.stderr };
    Err(Problem::new(format!("{} ended with {}\n{}", shown(command), left.status, said.trim_end())))
}

/// Runs a program whose output people watch.
pub(crate) fn watched(command: &mut Command) -> Result<ExitStatus, Problem> {
    command
        .stdin(Stdio::null())
        .status()
        .map_err(|cause| Problem::while_doing(&format!("starting {}", shown(command)), &cause))
}

/// Whether a program ends well within `limit`; it is killed and `None` comes back when it does not end in time.
pub(crate) fn ends_within(command: &mut Command, limit: Duration) -> Result<Option<ExitStatus>, Problem> {
    let doing = format!("running {}", shown(command));
    let broken = |cause| Problem::while_doing(&doing, &cause);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(broken)?;
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().map_err(broken)? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill().and_then(|()| child.wait()).map_err(broken)?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Where a program is, looked up as a shell would.
pub(crate) fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Root's tools live in sbin, which an ordinary user's PATH may leave out.
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// The command line, for messages.
pub(crate) fn shown(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let program = program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
    format!("`{}`", std::iter::once(program).chain(words).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_reported_with_what_it_said() {
        let problem = output(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        assert!(problem.lines[0].starts_with("`sh -c echo why >&2; exit 3` ended with"), "{problem:?}");
        assert_eq!(problem.lines[1], "why");
    }

    #[test]
    fn a_program_that_waits_for_input_meets_the_end_of_it() {
        assert_eq!(output(&mut Command::new("cat")).unwrap(), "");
    }

    #[test]
    fn a_program_that_never_ends_is_ended() {
        let ended = ends_within(Command::new("sleep").arg("1000"), Duration::from_millis(20)).unwrap();
        assert_eq!(ended, None);
    }
}
