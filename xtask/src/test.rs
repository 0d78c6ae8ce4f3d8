//! Every test of the workspace, doctests included; installs what they need when it is missing.

use std::io::{BufRead as _, BufReader, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use crate::rust_text::tokens;
use crate::steps::{Problem, StepResult};
use crate::tree::{Tree, files_under};
use crate::{metadata, openbao, process};

/// A program the tests need: its name, Debian's package, and what for.
const TOOLS: &[(&str, &str, &str)] = &[
    ("git", "git", "fixtures that are repositories, and the list of files to check"),
    ("strace", "strace", "killing a process at its n-th system call"),
    ("setpriv", "util-linux", "running the confinement tests as an ordinary user"),
    ("perl", "perl", "the code-review template"),
    ("kill", "procps", "ending a holder as the system would"),
    ("openssl", "openssl", "certificates for the vault's server"),
    ("pip3", "python3-pip", "installing OpenBao, the vault's server"),
];

/// Names the file to which a test that cannot run here appends `NAME: REASON`.
const NOT_RUN: &str = "EPARCH_NOT_RUN";

/// The crates whose tests start the vault's server.
const VAULT: [&str; 2] = ["eparch-vault", "eparch-cli"];

/// `cargo xtask test [-p CRATE] [FILTER…]`.
pub(crate) fn run(tree: &Tree, words: &[String]) -> StepResult {
    let asked = Asked::parse(words)?;
    install_missing_tools()?;
    let needs_server = VAULT.iter().any(|name| asked.includes(name));
    let needs = Needs { notes: Notes::new(tree)?, openbao: needs_server.then(|| openbao::program(tree)) };

    let doctests = asked.doctests(tree)?;
    let mut failed = Vec::new();
    if let Some(mut command) = doctests
        && !watched(tree, &mut command, &needs)?.success()
    {
        failed.push("a doctest failed: what it said stands before the tests, far above");
    }
    let (status, summary) = if process::found("cargo-nextest").is_some() {
        with_nextest(tree, &asked, &needs)?
    } else {
        with_cargo_test(tree, &asked, &needs)?
    };
    if !status.success() {
        failed.push("a test failed");
    }

    for line in needs.notes.lines()? {
        println!("not run, because {line}");
    }
    if asked.is_everything() {
        for line in ignored_tests(tree)? {
            println!("not run, because {line}");
        }
    }
    println!("{summary}");
    // The other tests are worth running without it; passing without it would hide that half the vault was not tested.
    if let Some(Err(mut problem)) = needs.openbao {
        problem.lines.push("without it, the tests that start a vault's server were not run".to_owned());
        return Err(problem);
    }
    // Named one by one: a doctest that failed is out of sight by now, and the summary above counts tests alone.
    if failed.is_empty() { Ok(String::new()) } else { Err(Problem::new(failed.join("\n"))) }
}

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    packages: Vec<String>,
    filters: Vec<String>,
}

impl Asked {
    fn parse(words: &[String]) -> Result<Asked, Problem> {
        let mut asked = Asked::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "-p" | "--package" => {
                    let name = words
                        .next()
                        .ok_or_else(|| Problem::new(format!("{word} needs the name of a crate")))?;
                    asked.packages.push(name.clone());
                }
                flag if flag.starts_with('-') => {
                    return Err(Problem::new(format!("there is no flag {flag}")));
                }
                filter => asked.filters.push(filter.to_owned()),
            }
        }
        Ok(asked)
    }

    fn is_everything(&self) -> bool {
        self.packages.is_empty() && self.filters.is_empty()
    }

    /// Whether the tests of a crate are among what is asked for.
    fn includes(&self, package: &str) -> bool {
        self.packages.is_empty() || self.packages.iter().any(|asked| asked == package)
    }

    /// The doctests, unless a filter means something else or no library is asked for.
    fn doctests(&self, tree: &Tree) -> Result<Option<Command>, Problem> {
        let members = metadata::members(tree)?;
        let is_library =
            |name: &&String| members.iter().any(|member| member.name == **name && member.is_library);
        let packages: Vec<String> = self.packages.iter().filter(is_library).cloned().collect();
        if !self.filters.is_empty() || packages.is_empty() != self.packages.is_empty() {
            return Ok(None);
        }
        let mut command = process::cargo(&["test", "--doc", "--quiet"]);
        Asked { packages, filters: Vec::new() }.select(&mut command);
        Ok(Some(command))
    }

    /// Adds which crates are tested.
    fn select(&self, command: &mut Command) {
        if self.packages.is_empty() {
            command.arg("--workspace");
        }
        for package in &self.packages {
            command.args(["--package", package]);
        }
    }
}

/// Runs the tests with nextest and holds its summary back, so that it can close the output.
fn with_nextest(tree: &Tree, asked: &Asked, needs: &Needs) -> Result<(ExitStatus, String), Problem> {
    let mut command = process::cargo(&["nextest", "run", "--no-fail-fast"]);
    asked.select(&mut command);
    command.args(&asked.filters);
    if std::io::stderr().is_terminal() {
        command.args(["--color", "always"]);
    } else {
        // A log is read for what went wrong, and whoever keeps it may keep a part: a thousand lines of what went well would be
        // that part.
        command.args(["--status-level", "slow", "--final-status-level", "fail"]);
    }
    prepare(tree, &mut command, needs);
    let starting = |cause| Problem::while_doing("starting cargo nextest", &cause);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(starting)?;
    let mut summary = "no summary: the tests were not started".to_owned();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).split(b'\n') {
            let line =
                line.map_err(|cause| Problem::while_doing("reading what cargo nextest says", &cause))?;
            let line = String::from_utf8_lossy(&line);
            if is_summary(&line) { summary = line.into_owned() } else { eprintln!("{line}") }
        }
    }
    let status = child.wait().map_err(starting)?;
    Ok((status, summary))
}

fn is_summary(line: &str) -> bool {
    let plain = without_colours(line);
    plain.trim_start().starts_with("Summary [") && plain.contains(" run: ")
}

fn without_colours(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    plain + rest
}

/// Runs the tests with cargo alone; its summaries, one for each binary, are added up into one line.
fn with_cargo_test(tree: &Tree, asked: &Asked, needs: &Needs) -> Result<(ExitStatus, String), Problem> {
    let mut command = process::cargo(&["test", "--no-fail-fast", "--all-targets"]);
    asked.select(&mut command);
    command.arg("--").args(&asked.filters);
    prepare(tree, &mut command, needs);
    let starting = |cause| Problem::while_doing("starting cargo test", &cause);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(starting)?;
    let mut total = Counts::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.map_err(|cause| Problem::while_doing("reading what cargo test says", &cause))?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            total.add(&line);
        }
    }
    let status = child.wait().map_err(starting)?;
    Ok((status, format!("{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped)))
}

/// How many tests ended how.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Counts {
    /// Adds `test result: ok. 3 passed; 0 failed; 1 ignored; …`; other lines add nothing.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }
}

fn watched(tree: &Tree, command: &mut Command, needs: &Needs) -> Result<ExitStatus, Problem> {
    prepare(tree, command, needs);
    process::watched(command)
}

/// The same surroundings for every runner, at a person's desk as in CI.
fn prepare(tree: &Tree, command: &mut Command, needs: &Needs) {
    command.current_dir(tree.root()).env("CI", "true").env(NOT_RUN, &needs.notes.path);
    if let Some(Ok(program)) = &needs.openbao {
        command.env(openbao::NAMED, program);
    }
}

/// What every runner hands to the tests.
struct Needs {
    notes: Notes,
    /// The server's program, or why it is not there; nothing when no test that starts it is run.
    openbao: Option<Result<PathBuf, Problem>>,
}

/// What tests that could not run leave.
struct Notes {
    path: PathBuf,
}

impl Notes {
    /// An empty file in the target folder, whatever an earlier run left.
    fn new(tree: &Tree) -> Result<Notes, Problem> {
        let target = tree.target();
        let path = target.join(format!("not-run-{}", std::process::id()));
        std::fs::create_dir_all(&target)
            .and_then(|()| std::fs::write(&path, ""))
            .map_err(|cause| Problem::while_doing(&format!("writing {}", path.display()), &cause))?;
        Ok(Notes { path })
    }

    /// The reasons, each with the tests it kept from running.
    fn lines(&self) -> Result<Vec<String>, Problem> {
        let text = std::fs::read_to_string(&self.path)
            .map_err(|cause| Problem::while_doing(&format!("reading {}", self.path.display()), &cause))?;
        Ok(by_reason(text.lines()))
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// `NAME: REASON` lines, turned round: one line for each reason.
fn by_reason<'l>(lines: impl Iterator<Item = &'l str>) -> Vec<String> {
    let mut reasons: std::collections::BTreeMap<&str, Vec<&str>> = std::collections::BTreeMap::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, reason) = line.split_once(": ").unwrap_or((line, "it gave no reason"));
        reasons.entry(reason).or_default().push(name);
    }
    reasons.into_iter().map(|(reason, names)| format!("{reason}: {}", names.join(", "))).collect()
}

/// Tests that their source marks as not run, with the reason it gives.
fn ignored_tests(tree: &Tree) -> Result<Vec<String>, Problem> {
    let mut lines = Vec::new();
    for folder in ["crates", "xtask"] {
        let reading = |cause| Problem::while_doing(&format!("reading {folder}"), &cause);
        for path in files_under(&tree.path(folder), ".rs").map_err(reading)? {
            let source = std::fs::read_to_string(&path).map_err(reading)?;
            lines.extend(ignored_in(&source));
        }
    }
    Ok(lines)
}

fn ignored_in(source: &str) -> Vec<String> {
    let code = tokens(source);
    let mut found = Vec::new();
    for (at, window) in code.windows(3).enumerate() {
        if !(window[0].marks('#') && window[1].marks('[') && window[2].is("ignore")) {
            continue;
        }
        let rest = &code[at + 3..];
        let reason = rest.iter().take_while(|token| !token.marks(']')).find_map(|token| token.text());
        let name = rest.windows(2).find(|pair| pair[0].is("fn")).and_then(|pair| pair[1].word());
        found.push(format!("{}: {}", reason.unwrap_or("it is marked so"), name.unwrap_or("a test")));
    }
    found
}

fn install_missing_tools() -> Result<(), Problem> {
    let missing: Vec<_> = TOOLS.iter().filter(|(program, ..)| process::found(program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package, _)| *package).collect();
    let needed: Vec<String> = missing.iter().map(|(program, _, why)| format!("  {program}: {why}")).collect();
    let command = format!("apt-get install --yes --no-install-recommends {}", packages.join(" "));
    if !is_root() || process::found("apt-get").is_none() {
        return Err(Problem::new(format!(
            "the tests need programs that are missing:\n{}\ninstall them, on Debian as root with\n  {command}",
            needed.join("\n")
        )));
    }
    eprintln!("installing {}, which the tests need", packages.join(", "));
    let apt = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(words).env("DEBIAN_FRONTEND", "noninteractive");
        process::output(&mut command)
    };
    apt(&["update", "--quiet"])?;
    apt(&[&["install", "--yes", "--quiet", "--no-install-recommends"], packages.as_slice()].concat())?;
    Ok(())
}

/// Whether this process may install packages: its own status file belongs to its user.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(Path::new("/proc/self/status")).is_ok_and(|status| status.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that is missing where the tests run makes a drill that proves nothing.
    #[test]
    fn every_program_the_tests_start_is_installed_or_always_there() {
        // In every Debian, or what the test itself makes.
        let always = [
            "sh",
            "cat",
            "cp",
            "mkfifo",
            "sleep",
            "mount",
            "umount",
            "apt-get",
            "/bin/sleep",
            "/proc/self/exe",
        ];
        let tree = Tree::here().unwrap();
        let mut missing = Vec::new();
        for file in tree.files().unwrap().iter().filter(|file| file.ends_with(".rs")) {
            let code = tokens(&tree.read(file).unwrap());
            for call in code.windows(6) {
                let is_start = call[0].is("Command") && call[3].is("new") && call[4].marks('(');
                let Some(program) = call[5].text().filter(|_| is_start) else { continue };
                let name = program.rsplit('/').next().unwrap_or(program);
                if !always.contains(&program) && !TOOLS.iter().any(|(tool, ..)| *tool == name) {
                    missing.push(format!("{file}:{}: {program}", call[5].line));
                }
            }
        }
        assert_eq!(missing, [""; 0]);
    }

    #[test]
    fn filters_and_packages_are_told_apart() {
        let words = ["-p", "eparch-ledger", "r121", "r122"].map(str::to_owned);
        let asked = Asked::parse(&words).unwrap();
        assert_eq!((asked.packages, asked.filters), (vec!["eparch-ledger".to_owned()], words[2..].to_vec()));
        let ledger = Asked { packages: vec!["eparch-ledger".to_owned()], ..Asked::default() };
        for name in VAULT {
            assert!(Asked::default().includes(name) && !ledger.includes(name));
        }
        assert!(Asked::parse(&["--nonsense".to_owned()]).is_err());
        assert!(Asked::parse(&["-p".to_owned()]).is_err());
    }

    #[test]
    fn the_runners_summaries_are_read() {
        assert!(is_summary("     Summary [  12.0s] 3 tests run: 3 passed, 0 skipped"));
        assert!(is_summary(
            "\u{1b}[32;1m     Summary\u{1b}[0m [  12.0s] \u{1b}[1m3\u{1b}[0m tests run: 3 passed"
        ));
        assert!(!is_summary("        PASS [   0.1s] summary::test"));
        let mut total = Counts::default();
        total.add(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        );
        total.add("test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out");
        total.add("test tests::x ... ok");
        assert_eq!(total, Counts { passed: 4, failed: 2, skipped: 1 });
    }

    #[test]
    fn reasons_gather_their_tests() {
        let lines = ["a: no strace here", "b: no strace here", "c"].into_iter();
        assert_eq!(by_reason(lines), ["it gave no reason: c", "no strace here: a, b"]);
    }

    #[test]
    fn ignored_tests_are_found_with_their_reason() {
        let source =
            "#[test]\n#[ignore = \"takes an hour\"]\nfn long() {}\n// #[ignore]\n#[ignore]\nfn other() {}";
        assert_eq!(ignored_in(source), ["takes an hour: long", "it is marked so: other"]);
    }
}
