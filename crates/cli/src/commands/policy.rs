//! Policies as a user works with them: are they sound, what do they say, do they say what was meant.

mod cases;
mod explain;
mod question;
mod show;

use std::path::Path;

use eparch_daemon::wire::PutInForce;
use eparch_daemon::{NoPolicies, PolicyFiles};
use eparch_domain::in_full;
use eparch_policy::{PolicySet, Problem};
use serde_json::json;

use crate::args::{self, Which};
use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::holder::Desk;
use crate::output::outln;
use crate::paint;

/// `eparch policy …`.
pub(crate) fn carry_out(context: &Context, command: args::Policy) -> Result<u8, Failure> {
    match command {
        args::Policy::Check { dir } => check(context, dir.as_deref()),
        args::Policy::Load => super::block_on(put_in_force(context)),
        args::Policy::Explain(asked) => explain::explain(context, &asked),
        args::Policy::Test { file, which } => cases::try_all(context, &file, &which),
        args::Policy::Show { who, which } => show::show(context, who, &which),
    }
}

fn check(context: &Context, dir: Option<&Path>) -> Result<u8, Failure> {
    let files = find(context, dir)?;
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
            let (count, files) = (set.rules().len(), files.files.len());
            outln!(
                "{place}: {}: {count} policies in {files} files, {}",
                paint::out().good("valid"),
                set.digest()
            );
            tell_of_people(&set);
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

/// Policies for people look as if they held; nobody is to find out otherwise when it matters.
fn tell_of_people(policies: &PolicySet) {
    let ids: Vec<&str> = policies.rules().filter(|rule| rule.for_people).map(|rule| &*rule.id).collect();
    if !ids.is_empty() {
        let many = counted(ids.len(), "policy is for people", "policies are for people");
        outln!("{many}, whose roles decide: only `explain`, `show` and `test` ask {}", ids.join(", "));
    }
}

/// The holder reads them: what it cannot use it refuses, and keeps those it has.
async fn put_in_force(context: &Context) -> Result<u8, Failure> {
    let done: PutInForce = Desk::open(context)?.post_again("/api/policies", &json!({})).await?;
    if context.is_json() {
        print_json(&done)?;
        return Ok(exit::DONE);
    }
    let PutInForce { place, policies, digest, changed, .. } = done;
    let state = if changed { "in force now" } else { "in force already" };
    outln!("{place}: {policies} policies, {state}, {digest}");
    Ok(exit::DONE)
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

/// That a home is not held, for want of policies that could be in force (G4).
pub(crate) fn unusable(problem: &NoPolicies) -> Failure {
    Failure::new("EP0811", in_full(problem))
        .hint("`eparch policy check` shows what is wrong with them; nothing is done without policies")
        .exit(exit::BAD_DOCUMENT)
}

/// The policies to ask, which must be sound.
fn load(context: &Context, which: &Which) -> Result<(PolicySet, String), Failure> {
    let files = find(context, which.policies.as_deref())?;
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

/// Those that were named, else the home's own, else those that ship.
fn find(context: &Context, named: Option<&Path>) -> Result<PolicyFiles, Failure> {
    let found = match named {
        Some(place) => PolicyFiles::of(place),
        None => PolicyFiles::of_home(&context.home_root()),
    };
    found.map_err(|problem| {
        Failure::new("EP0702", problem.to_string())
            .hint("name a folder of .cedar files, UTF-8 text, that is there and that you may read")
            .exit(exit::BAD_DOCUMENT)
    })
}

/// The text of a file of tests.
fn read(path: &Path) -> Result<(String, String), Failure> {
    let found = PolicyFiles::of(path).map_err(|problem| {
        Failure::new("EP0702", problem.to_string())
            .hint("tests of policies are UTF-8 text; name a file that is there and that you may read")
            .exit(exit::BAD_DOCUMENT)
    })?;
    found.files.into_iter().next().ok_or_else(|| Failure::new("EP0702", "there is no such file"))
}
