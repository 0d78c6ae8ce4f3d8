//! Runs: list, show, logs, stop, resume, retry.

use std::collections::BTreeMap;

use eparch_daemon::wire::{Decided, RetryRun, RunLogLine, RunLogNews, Started, StopRun};
use eparch_daemon::{CallError, is_performed, random_bits};
use eparch_domain::{Name, RunId};
use eparch_ledger::views::{RunDetail, RunSummary};

use super::emergencies;
use super::run::{check_approver, detach};
use crate::args::{ListRuns, OneRun, Runs, RunsArgs};
use crate::context::{Context, json_line, print_json};
use crate::failure::{Failure, exit};
use crate::holder::{Desk, Setbacks};
use crate::output::outln;
use crate::table::{Table, plain};
use crate::watch::{self, From, Interrupts};
use crate::{paint, when};

/// Runs asked for at once.
const RUNS_AT_ONCE: usize = 1_000;

/// `eparch runs …`.
pub(crate) async fn carry_out(context: &Context, asked: RunsArgs) -> Result<u8, Failure> {
    let desk = Desk::open(context)?;
    match asked.command.unwrap_or(Runs::List(asked.list)) {
        Runs::List(asked) => list(context, &desk, &asked).await,
        Runs::Show(run) => show(context, &desk, &run).await,
        Runs::Logs { run, follow, stage } => logs(context, &desk, &run, follow, stage.as_ref()).await,
        Runs::Stop { run, reason } => stop(context, &desk, &run, reason).await,
        Runs::Resume { run, approve_as } => {
            check_approver(&desk, approve_as.as_ref())?;
            let run = find(&desk, &run).await?;
            watch::watch(context, &desk, run, From::Now, approve_as.as_ref(), &Interrupts::listen()?).await
        }
        Runs::Retry { run, from, watch: how } => {
            check_approver(&desk, how.approve_as.as_ref())?;
            let run = find(&desk, &run).await?;
            let interrupts = Interrupts::listen()?;
            let again = RetryRun { from, idempotency_key: Some(format!("{:032x}", random_bits())) };
            let started: Started = desk.post_again(&format!("/api/runs/{run}/retry"), &again).await?;
            if how.detach {
                return detach(context, &desk, &started, &interrupts).await;
            }
            watch::watch(
                context,
                &desk,
                started.pipeline_id,
                From::Start(started.seq),
                how.approve_as.as_ref(),
                &interrupts,
            )
            .await
        }
    }
}

/// The run that was meant.
async fn find(desk: &Desk<'_>, asked: &OneRun) -> Result<RunId, Failure> {
    if let Some(id) = asked.id {
        return Ok(id);
    }
    let newest: Vec<RunSummary> = desk.get("/api/runs?limit=1").await?;
    newest.first().map(|run| run.pipeline_id).ok_or_else(|| {
        Failure::new("EP0709", "this home has no runs yet").hint("`eparch run FILE` starts one")
    })
}

async fn list(context: &Context, desk: &Desk<'_>, asked: &ListRuns) -> Result<u8, Failure> {
    let runs = newest(desk, asked.live, asked.limit.unwrap_or(50)).await?;
    emergencies::shout(context, desk).await?;
    if context.is_json() {
        print_json(&runs)?;
        return Ok(exit::DONE);
    }
    if runs.is_empty() {
        context.say("No runs. `eparch run FILE` starts one.");
        return Ok(exit::DONE);
    }
    let mut table = Table::new(&["RUN", "PIPELINE", "STATUS", "STAGES", "TIER", "BY", "STARTED", "TOOK"]);
    for run in &runs {
        let mut status = run.status.to_string();
        if run.approvals_waiting > 0 {
            status.push_str(" (waits)");
        }
        let shown = paint::out().run(run.status, &status);
        let took = when::between(run.started_at, run.ended_at.unwrap_or_else(when::now));
        table.row([
            plain(run.pipeline_id.to_string()),
            plain(run.name.to_string()),
            (status, shown),
            plain(format!("{}/{}", run.stages_ended, run.stages_total)),
            plain(run.tier.to_string()),
            plain(run.requester.to_string()),
            plain(when::ago(run.started_at)),
            plain(when::length(took)),
        ]);
    }
    table.print();
    Ok(exit::DONE)
}

/// So many runs, the newest first; the holder gives a thousand at once.
pub(super) async fn newest(desk: &Desk<'_>, live: bool, limit: u32) -> Result<Vec<RunSummary>, Failure> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut runs: Vec<RunSummary> = Vec::new();
    loop {
        let page = (limit - runs.len()).min(RUNS_AT_ONCE);
        let before = runs.last().map(|run| format!("&before={}", run.pipeline_id)).unwrap_or_default();
        let more: Vec<RunSummary> = desk.get(&format!("/api/runs?live={live}&limit={page}{before}")).await?;
        let is_last = more.len() < page;
        runs.extend(more);
        if is_last || runs.len() >= limit {
            return Ok(runs);
        }
    }
}

async fn show(context: &Context, desk: &Desk<'_>, asked: &OneRun) -> Result<u8, Failure> {
    let id = find(desk, asked).await?;
    let detail: RunDetail = desk.get(&format!("/api/runs/{id}")).await?;
    if context.is_json() {
        print_json(&detail)?;
        return Ok(exit::DONE);
    }
    let run = &detail.summary;
    let paint = paint::out();
    let line = |head: &str, value: &str| outln!("{} {value}", paint.faint(&format!("{head:<10}")));
    line("run", &paint.bold(&id.to_string()));
    line("pipeline", run.name.as_str());
    line(
        "status",
        &format!(
            "{}{}",
            paint.run(run.status, run.status.as_str()),
            if run.reason.is_empty() {
                String::new()
            } else {
                format!(" ({})", paint::harmless(&run.reason))
            }
        ),
    );
    match run.parent_id {
        None => line("asked by", &format!("{}, {}", run.requester, when::ago(run.started_at))),
        Some(_) => line("began", &format!("by itself, {}, for {}", when::ago(run.started_at), run.requester)),
    }
    line("tier", &format!("{} at most", run.tier));
    line("plan", &run.plan_id.to_string());
    line("project", &paint::harmless(&detail.root));
    if let Some(earlier) = run.repeats {
        line("repeats", &earlier.to_string());
    }
    if let (Some(parent), Some(agent)) = (run.parent_id, run.parent_agent) {
        let why = run.spawn_reason.as_deref().unwrap_or_default();
        line("looks at", &format!("{parent}, because of {agent}: {}", paint::harmless(why)));
    }
    for looks in &detail.spawned {
        line("seen by", &format!("{looks} (`eparch runs show {looks}` has the diagnosis)"));
    }
    for (name, value) in &detail.inputs {
        line("input", &format!("{name} = {}", paint::harmless(&value.to_string())));
    }
    line("files", &desk.home().runs().join(id.to_string()).display().to_string());
    outln!();
    watch::stages_table(&detail.stages);
    watch::print_confinement(&detail.stages);
    watch::print_watched(&detail);
    for stage in detail.stages.iter().filter(|stage| !stage.outputs.is_empty() || !stage.artifacts.is_empty())
    {
        outln!("\n{}", paint.bold(stage.name.as_str()));
        for (name, value) in &stage.outputs {
            outln!("  {name} = {}", paint::harmless(&value.to_string()));
        }
        for artifact in &stage.artifacts {
            outln!(
                "  {}  {}  {}",
                paint::harmless(&artifact.path),
                watch::file_size(artifact.size),
                artifact.digest
            );
        }
    }
    for gate in detail.approvals.iter().filter(|gate| gate.outcome.is_none()) {
        outln!("\n{} waits: eparch approvals show {}", gate.stage, gate.gate);
    }
    Ok(exit::DONE)
}

async fn logs(
    context: &Context,
    desk: &Desk<'_>,
    asked: &OneRun,
    follow: bool,
    stage: Option<&Name>,
) -> Result<u8, Failure> {
    let id = find(desk, asked).await?;
    let only = stage.map(|stage| format!("&stage={stage}")).unwrap_or_default();
    let path = format!("/api/runs/{id}/logs?follow={follow}{only}");
    let again = format!("eparch runs logs {id} --follow");
    let (mut printed, mut setbacks) = (Printed::default(), Setbacks::default());
    let mut lines = desk.stream(&path).await?;
    loop {
        printed.begin_again();
        while crate::output::is_read() {
            match lines.next::<RunLogNews>().await {
                Ok(Some(RunLogNews::Line(line))) if printed.is_new(&line) => print_line(context, &line),
                Ok(Some(RunLogNews::Line(_))) => {}
                Ok(Some(RunLogNews::End(event))) => {
                    watch::take_end(&event)?;
                    context.say(watch::PAUSED);
                    setbacks.pause();
                    break;
                }
                Ok(None) => return Ok(exit::DONE),
                // The holder went away, and its agents with it: what they print under the next one is followed there.
                Err(CallError::Lost(_) | CallError::Absent(_)) => {
                    setbacks.death(&again)?;
                    break;
                }
                Err(problem) => return Err(problem.into()),
            }
        }
        if !crate::output::is_read() {
            return Ok(exit::DONE);
        }
        lines = setbacks.reopen(&again, async || desk.stream(&path).await).await?;
    }
}

/// How many lines of each attempt were printed: a stream that is opened again begins with them.
#[derive(Default)]
struct Printed {
    lines: BTreeMap<(Name, u32), u64>,
    again: BTreeMap<(Name, u32), u64>,
}

impl Printed {
    fn begin_again(&mut self) {
        self.again.clone_from(&self.lines);
    }

    /// Whether a line was not printed yet; counts it.
    fn is_new(&mut self, line: &RunLogLine) -> bool {
        let attempt = (line.stage.clone(), line.attempt);
        if let Some(left) = self.again.get_mut(&attempt).filter(|left| **left > 0) {
            *left -= 1;
            return false;
        }
        *self.lines.entry(attempt).or_default() += 1;
        true
    }
}

fn print_line(context: &Context, line: &RunLogLine) {
    if context.is_json() {
        outln!("{}", json_line(line));
    } else {
        let speaker = watch::speaker(line.stage.as_str(), is_performed(&line.line.stream));
        outln!("{speaker} {} {}", paint::out().faint("|"), paint::harmless(&line.line.line));
    }
}

async fn stop(context: &Context, desk: &Desk<'_>, asked: &OneRun, reason: String) -> Result<u8, Failure> {
    let id = find(desk, asked).await?;
    let stopped: Decided<RunDetail> =
        desk.post_again(&format!("/api/runs/{id}/stop"), &StopRun { reason }).await?;
    if context.is_json() {
        print_json(&stopped)?;
        return Ok(exit::DONE);
    }
    let status = match &stopped {
        Decided::Shown(detail) => Some(detail.summary.status),
        Decided::Unseen { read_models, .. } => {
            context.say_unseen(read_models);
            None
        }
    };
    match status {
        Some(ended) if ended.is_terminal() => {
            outln!("{id} has ended: {}", paint::out().run(ended, ended.as_str()))
        }
        _ => outln!("{id} is being ended."),
    }
    Ok(exit::DONE)
}
