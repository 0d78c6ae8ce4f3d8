//! What looks at runs that fail: which pipeline does, and the report that it writes.

mod report;

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use eparch_daemon::Settings;
use eparch_daemon::diagnostic::handoff::{HANDOFF_FORMAT, Handoff};
use eparch_daemon::diagnostic::{DiagnosticFile, NoDiagnostic};
use eparch_domain::in_full;
use eparch_pipeline::Pipeline;
use serde_json::json;

use self::report::Diagnosis;
use crate::args::Diagnostic;
use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::output::{out, outln};
use crate::paint;

/// The largest handoff that is read: ten times what the limits of one let it be.
const HANDOFF_BYTES: u64 = 32 << 20;

/// `eparch diagnostic …`.
pub(crate) fn carry_out(context: &Context, command: Diagnostic) -> Result<u8, Failure> {
    match command {
        Diagnostic::Show => show(context),
        Diagnostic::Report { handoff, to } => report(context, handoff, to),
    }
}

/// What looks at runs of this home that fail, checked as whoever holds it checks it.
pub(crate) fn in_use(home: &Path, settings: &Settings) -> Result<(DiagnosticFile, Pipeline), NoDiagnostic> {
    let file = DiagnosticFile::of_home(home, settings.diagnostic.file.as_deref())?;
    let pipeline = file.load()?;
    Ok((file, pipeline))
}

/// That it cannot be used.
pub(crate) fn unusable(problem: &NoDiagnostic) -> Failure {
    Failure::new(NoDiagnostic::CODE, in_full(problem)).hint(NoDiagnostic::HINT).exit(exit::BAD_DOCUMENT)
}

fn show(context: &Context) -> Result<u8, Failure> {
    let home = context.home_root();
    let settings = context.settings(&home)?;
    let (file, pipeline) = in_use(&home, &settings).map_err(|problem| unusable(&problem))?;
    if context.is_json() {
        print_json(&json!({ "place": file.place, "digest": pipeline.digest(), "text": file.text }))?;
    } else {
        context.say(&format!("# {}", paint::harmless(&file.place)));
        out(format_args!("{}", paint::harmless_lines(&file.text)));
        if !file.text.ends_with('\n') {
            outln!();
        }
    }
    Ok(exit::DONE)
}

fn report(context: &Context, handoff: Option<PathBuf>, to: Option<PathBuf>) -> Result<u8, Failure> {
    let told = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let missing = |what: &str, flag: &str| {
        Failure::new("EP0682", format!("{what} is not told"))
            .hint(format!("say {flag}, or run it inside an agent"))
            .exit(exit::USAGE)
    };
    let handoff = handoff
        .or_else(|| told("EPARCH_INPUTS").map(|inputs| inputs.join("handoff.json")))
        .ok_or_else(|| missing("what was handed over", "--handoff FILE"))?;
    let to = to
        .or_else(|| told("EPARCH_ARTIFACTS"))
        .ok_or_else(|| missing("where the report goes", "--to DIR"))?;
    let diagnosis = Diagnosis::of(&read(&handoff)?);
    let json = serde_json::to_string_pretty(&diagnosis)
        .map_err(|problem| Failure::new("EP0683", format!("the report cannot be written: {problem}")))?;
    write(&to, "diagnosis.json", &(json + "\n"))?;
    write(&to, "diagnosis.md", &diagnosis.to_markdown())?;
    if context.is_json() {
        print_json(&diagnosis)?;
    } else {
        outln!("{}", paint::harmless(&diagnosis.what_failed));
        diagnosis.what_helps.iter().for_each(|help| outln!("- {}", paint::harmless(help)));
    }
    Ok(exit::DONE)
}

fn read(path: &Path) -> Result<Handoff, Failure> {
    let bad = |why: String| {
        Failure::new("EP0682", format!("{} is no handoff: {why}", path.display()))
            .hint("an agent that looks at a run is given one; a run that a person retries has none")
            .exit(exit::BAD_DOCUMENT)
    };
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(HANDOFF_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|problem| bad(problem.to_string()))?;
    if bytes.len() as u64 > HANDOFF_BYTES {
        return Err(bad(format!("it has more than {HANDOFF_BYTES} bytes")));
    }
    let handoff: Handoff = serde_json::from_slice(&bytes).map_err(|problem| bad(problem.to_string()))?;
    if handoff.v != HANDOFF_FORMAT {
        return Err(bad(format!("it has format {}, and this build reads {HANDOFF_FORMAT}", handoff.v)));
    }
    Ok(handoff)
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let path = folder.join(name);
    fs::write(&path, text).map_err(|problem| {
        Failure::new("EP0683", format!("cannot write {}: {problem}", path.display()))
            .hint("--to names a folder that is there and can be written")
    })
}
