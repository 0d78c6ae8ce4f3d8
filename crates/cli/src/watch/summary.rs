//! How a run ended, for people and for programs.

use eparch_domain::{RunStatus, StageStatus};
use eparch_ledger::views::{RunDetail, StageView};
use serde_json::{Value, json};

use super::model::Model;
use super::{confinement, watched};
use crate::holder::Desk;
use crate::output::outln;
use crate::table::{Table, plain};
use crate::{paint, when};

/// The last JSON object of a watched run.
pub(crate) fn to_json(
    detail: &RunDetail,
    exit_code: u8,
    interrupted: bool,
    entries: (Option<u64>, u64),
) -> Value {
    let mut result = serde_json::to_value(detail).unwrap_or_default();
    if let Some(fields) = result.as_object_mut() {
        fields.insert("type".to_owned(), "result".into());
        fields.insert("exit_code".to_owned(), exit_code.into());
        fields.insert("interrupted".to_owned(), interrupted.into());
        fields.insert("ledger".to_owned(), json!({ "from": entries.0, "to": entries.1 }));
    }
    result
}

/// Prints how it ended, on standard output.
pub(crate) fn print(detail: &RunDetail, model: Option<&Model>, desk: &Desk<'_>, entries: (Option<u64>, u64)) {
    let paint = paint::out();
    let run = &detail.summary;
    let took = when::length(when::between(run.started_at, run.ended_at.unwrap_or_else(when::now)));
    outln!(
        "\n{} {}  {}  {}",
        head(run.status),
        paint.bold(run.name.as_str()),
        run.pipeline_id,
        paint.faint(&format!("in {took}"))
    );
    if !run.reason.is_empty() {
        outln!("  {}", paint::harmless(&run.reason));
    }
    for looks in &detail.spawned {
        outln!("  {looks} looks at what went wrong: `eparch runs show {looks}` has its diagnosis");
    }
    outln!();
    stages(&detail.stages);
    if let Some(model) = model {
        last_words(model);
    }
    confinement::print_missing(&detail.stages);
    watched::print(detail);
    artifacts(detail, desk);
    match entries {
        (_, 0) => {}
        (Some(from), to) => {
            outln!("\n{} entries {from} to {to}; `eparch ledger verify` checks them", paint.faint("ledger"))
        }
        (None, to) => {
            outln!("\n{} up to entry {to}; `eparch ledger verify` checks it", paint.faint("ledger"))
        }
    }
}

fn head(status: RunStatus) -> String {
    let glyph = match status {
        RunStatus::Completed => "✔",
        RunStatus::Stopped | RunStatus::Aborted => "■",
        ended if ended.is_terminal() => "✘",
        _ => "…",
    };
    paint::out().run(status, &format!("{glyph} {status}"))
}

/// The stages of a run as a table.
pub(crate) fn stages(stages: &[StageView]) {
    let paint = paint::out();
    let mut table = Table::new(&["STAGE", "STATUS", "TIER", "TRIES", "TIME", ""]);
    let mut depths: Vec<(&str, usize)> = Vec::new();
    for stage in stages {
        let above =
            stage.parent.as_ref().and_then(|parent| depths.iter().find(|(name, _)| *name == parent.as_str()));
        let depth = above.map_or(0, |(_, depth)| depth + 1);
        depths.push((stage.name.as_str(), depth));
        let name = format!("{}{}", "  ".repeat(depth), stage.name);
        let status = format!("{} {}", paint::glyph(stage.status, 0), stage.status);
        let took = stage
            .started_at
            .map(|from| when::length(when::between(from, stage.ended_at.unwrap_or_else(when::now))));
        let tier = stage.tier.map(|tier| tier.to_string()).unwrap_or_default();
        let tries = if stage.attempts > 0 { stage.attempts.to_string() } else { String::new() };
        table.row([
            plain(name),
            (status.clone(), paint.stage(stage.status, &status)),
            plain(tier),
            plain(tries),
            plain(took.unwrap_or_default()),
            plain(paint::harmless(&stage.reason)),
        ]);
    }
    table.print();
}

/// The end of what failed stages said.
fn last_words(model: &Model) {
    let failed = |status| matches!(status, StageStatus::Failed | StageStatus::TimedOut);
    for stage in model.stages.iter().filter(|stage| failed(stage.status) && !stage.last_lines.is_empty()) {
        outln!("\n{} {}", paint::out().bad(stage.name.as_str()), paint::out().faint("said last:"));
        stage.last_lines.iter().for_each(|line| outln!("  {line}"));
    }
}

fn artifacts(detail: &RunDetail, desk: &Desk<'_>) {
    let folder = desk.home().runs().join(detail.summary.pipeline_id.to_string());
    let with_files: Vec<&StageView> =
        detail.stages.iter().filter(|stage| !stage.artifacts.is_empty()).collect();
    if !with_files.is_empty() {
        outln!("\n{}", paint::out().faint("artifacts"));
    }
    for stage in with_files {
        for artifact in &stage.artifacts {
            let path = folder.join(stage.name.as_str()).join(&artifact.path);
            outln!(
                "  {}  {}",
                paint::harmless(&path.display().to_string()),
                paint::out().faint(&size(artifact.size))
            );
        }
    }
}

/// A size in a few characters.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", bytes / 1_024),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes / 1_048_576),
        _ => format!("{} GiB", bytes / 1_073_741_824),
    }
}
