//! Policies as a user works with them: are they sound, what do they say, do they say what was meant.

mod cases;
mod explain;
mod question;
mod show;

use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use eparch_domain::limits;
use eparch_policy::{DEFAULTS, PolicySet, PolicyText, Problem};
use serde_json::json;

use crate::args::{self, Which};
use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::output::outln;
use crate::paint;

/// `eparch policy …`.
pub(crate) fn carry_out(context: &Context, command: args::Policy) -> Result<u8, Failure> {
    match command {
        args::Policy::Check { dir } => check(context, dir.as_deref()),
        args::Policy::Explain(asked) => explain::explain(context, &asked),
        args::Policy::Test { file, which } => cases::try_all(context, &file, &which),
        args::Policy::Show { who, which } => show::show(context, who, &which),
    }
}

fn check(context: &Context, dir: Option<&Path>) -> Result<u8, Failure> {
    let files = Files::find(context, dir)?;
    let loaded = PolicySet::load(&files.texts());
    let place = files.place.as_str();
    if context.is_json() {
        let found = loaded.as_ref().err().map_or(&[][..], Vec::as_slice);
        let (count, digest) = match &loaded {
            Ok(set) => (Some(set.rules().len()), Some(set.digest())),
            Err(_) => (None, None),
        };
        let valid = loaded.is_ok();
        print_json(
            &json!({ "valid": valid, "place": place, "policies": count, "digest": digest, "problems": found }),
        )?;
        return Ok(if valid { exit::DONE } else { exit::BAD_DOCUMENT });
    }
    match loaded {
        Ok(set) => {
            let (count, files) = (set.rules().len(), files.all.len());
            outln!(
                "{place}: {}: {count} policies in {files} files, {}",
                paint::out().good("valid"),
                set.digest()
            );
            Ok(exit::DONE)
        }
        Err(problems) => {
            tell(&problems);
            let many = counted(problems.len(), "problem", "problems");
            outln!("{place}: {}: {many}", paint::out().bad("not valid"));
            Ok(exit::BAD_DOCUMENT)
        }
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Tells what is wrong, each problem with its place and what to try.
fn tell(problems: &[Problem]) {
    let paint = paint::out();
    for problem in problems {
        let Problem { file, line, column, code, message, .. } = problem;
        let head = paint.bad(&format!("error[{code}]"));
        outln!("{head}: {}", paint::harmless_lines(message));
        outln!("  --> {}:{line}:{column}", paint::harmless(file));
        if let Some(hint) = &problem.hint {
            outln!("  = help: {}", paint::harmless_lines(hint));
        }
    }
}

/// The policies to ask, which must be sound.
fn load(context: &Context, which: &Which) -> Result<(PolicySet, String), Failure> {
    let files = Files::find(context, which.policies.as_deref())?;
    match PolicySet::load(&files.texts()) {
        Ok(set) => Ok((set, files.place)),
        Err(problems) => {
            let detail: Vec<String> = problems.iter().map(ToString::to_string).collect();
            let place = files.place;
            let many = counted(problems.len(), "problem", "problems");
            let message = format!("the policies of {place} cannot be used: {many}");
            Err(Failure::new("EP0811", message)
                .detail(detail.join("\n"))
                .hint("`eparch policy check` shows them one by one")
                .exit(exit::BAD_DOCUMENT))
        }
    }
}

/// Files of policies, as they lie somewhere.
struct Files {
    /// Where, for messages.
    place: String,
    /// Name and text.
    all: Vec<(String, String)>,
}

impl Files {
    fn texts(&self) -> Vec<PolicyText<'_>> {
        self.all.iter().map(|(name, text)| PolicyText { name, text }).collect()
    }

    /// Those that were named, else the home's own, else those that ship.
    fn find(context: &Context, named: Option<&Path>) -> Result<Files, Failure> {
        let own = context.home_root().join("policies");
        match named {
            Some(place) if place.is_file() => {
                Ok(Files { place: place.display().to_string(), all: vec![read(place)?] })
            }
            Some(place) => Files::of_folder(place),
            None if own.exists() => Files::of_folder(&own),
            None => {
                let all = DEFAULTS.iter().map(|file| (file.name.to_owned(), file.text.to_owned())).collect();
                Ok(Files { place: "the policies that ship".to_owned(), all })
            }
        }
    }

    fn of_folder(folder: &Path) -> Result<Files, Failure> {
        let place = folder.display().to_string();
        let cannot = |problem: std::io::Error| {
            Failure::new("EP0702", format!("cannot read {place}: {problem}"))
                .hint("name a folder of .cedar files that is there and that you may read")
                .exit(exit::BAD_DOCUMENT)
        };
        let mut paths: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(folder).map_err(cannot)? {
            let path = entry.map_err(cannot)?.path();
            if path.extension() == Some(OsStr::new("cedar")) {
                paths.push(path);
            }
            // One too many is enough to be refused for; a folder without an end must not fill the memory.
            if paths.len() > limits::POLICY_FILES {
                break;
            }
        }
        paths.sort();
        let all = paths.iter().map(|path| read(path)).collect::<Result<_, _>>()?;
        Ok(Files { place, all })
    }
}

/// A file's name and text; one byte past the limit is enough to refuse it.
fn read(path: &Path) -> Result<(String, String), Failure> {
    let name = path.display().to_string();
    let cannot = |problem: &dyn std::fmt::Display| {
        Failure::new("EP0702", format!("cannot read {name}: {problem}"))
            .hint("policies and their tests are UTF-8 text; name a file that is there and that you may read")
            .exit(exit::BAD_DOCUMENT)
    };
    let file = fs::File::open(path).map_err(|problem| cannot(&problem))?;
    let mut bytes = Vec::new();
    let limit = limits::POLICY_FILE_BYTES as u64 + 1;
    file.take(limit).read_to_end(&mut bytes).map_err(|problem| cannot(&problem))?;
    let text = String::from_utf8(bytes).map_err(|problem| cannot(&problem.utf8_error()))?;
    Ok((name, text))
}
