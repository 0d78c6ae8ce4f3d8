#![doc = include_str!("../README.md")]

mod bench;
mod check;
mod commands;
mod deny;
mod errors;
mod layers;
mod lint_core;
mod metadata;
mod mutants;
mod openbao;
mod process;
mod requirements;
mod rust_text;
mod schema;
mod secrets;
mod steps;
mod test;
mod tree;
mod versions;

use std::process::ExitCode;

use steps::{Problem, StepResult};
use tree::Tree;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [-p CRATE] [FILTER…]  run every test of the workspace, doctests included
  check                      everything CI checks besides the tests
  layers [--write]           the picture of the crates, and the edges that are forbidden
  schema [--write]           schemas/*.json from the Rust types
  requirements [--all]       which requirement rows have a test
  errors [--write]           every error code has a page, every page a code
  lint-core [DIR]            core definitions are defined once and used everywhere
  secrets                    nothing in the tree looks like a secret
  versions                   every version has a changelog entry
  deny                       licences, bans, sources and advisories of dependencies
  bench [NAME…]              measure, keep raw files, write docs/performance.md; `--page` alone draws it of those there are
  mutants [--shard K/N | --missed | --rest N | --page]  break one place after the other, see whether a test notices, write docs/mutants.md
";

/// A wrong word on the command line, as `sysexits.h` numbers it.
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = words.split_first() else {
        eprint!("{USAGE}");
        return ExitCode::from(EXIT_USAGE);
    };
    let tree = match Tree::here() {
        Ok(tree) => tree,
        Err(problem) => return report(Err(problem)),
    };
    match (command.as_str(), rest) {
        ("test", rest) => report(test::run(&tree, rest)),
        ("check", []) => report(check::run(&tree)),
        ("layers", rest) => with_write(rest, |write| layers::run(&tree, write)),
        ("schema", rest) => with_write(rest, |write| schema::run(&tree, write)),
        ("errors", rest) => with_write(rest, |write| errors::run(&tree, write)),
        ("requirements", []) => report(requirements::run(&tree, false)),
        ("requirements", [all]) if all == "--all" => report(requirements::run(&tree, true)),
        ("lint-core", []) => report(lint_core::run(tree.root())),
        ("lint-core", [folder]) => report(lint_core::run(folder.as_ref())),
        ("secrets", []) => report(secrets::run(&tree)),
        ("versions", []) => report(versions::run(&tree)),
        ("deny", []) => report(deny::run(&tree)),
        ("bench", rest) => report(bench::run(&tree, rest)),
        ("mutants", rest) => report(mutants::run(&tree, rest)),
        ("help" | "--help" | "-h", _) => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => {
            eprint!("{USAGE}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn with_write(rest: &[String], run: impl FnOnce(bool) -> StepResult) -> ExitCode {
    match rest {
        [] => report(run(false)),
        [word] if word == "--write" => report(run(true)),
        _ => {
            eprint!("{USAGE}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn report(result: StepResult) -> ExitCode {
    match result {
        Ok(note) => {
            if !note.is_empty() {
                println!("{note}");
            }
            ExitCode::SUCCESS
        }
        Err(Problem { lines }) => {
            for line in lines {
                eprintln!("{line}");
            }
            ExitCode::FAILURE
        }
    }
}
