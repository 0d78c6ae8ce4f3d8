//! `eparch run`: validate, plan, run, watch.

use eparch_daemon::wire::Started;
use eparch_domain::Name;

use super::{init, pipeline};
use crate::args::Run;
use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::holder::Desk;
use crate::output::outln;
use crate::watch::{self, From, Interrupts};

/// Runs a pipeline; returns its exit code.
pub(crate) async fn run(context: &Context, asked: &Run) -> Result<u8, Failure> {
    pipeline::check_mode(&asked.request)?;
    let (checked, checked_pipeline) = pipeline::read_pipeline(context, &asked.file).await?;
    let request = pipeline::start_request(&checked, &checked_pipeline, &asked.request)?;
    // What can be refused without a home is refused before one is made.
    pipeline::bind(&checked_pipeline, &request.inputs)?;
    let desk = Desk::of(context, init::home_or_new(context)?)?;
    check_approver(&desk, asked.watch.approve_as.as_ref())?;
    desk.compare_settings().await?;
    let interrupts = Interrupts::listen()?;
    let started: Started = desk.post_again("/api/runs", &request).await?;
    if asked.watch.detach {
        return detach(context, &desk, &started, &interrupts).await;
    }
    watch::watch(
        context,
        &desk,
        started.pipeline_id,
        From::Start(started.seq),
        asked.watch.approve_as.as_ref(),
        &interrupts,
    )
    .await
}

/// Leaves a run that was begun to itself, unless a Ctrl-C came while it was asked for: that stops it.
pub(crate) async fn detach(
    context: &Context,
    desk: &Desk<'_>,
    started: &Started,
    interrupts: &Interrupts,
) -> Result<u8, Failure> {
    let run = started.pipeline_id;
    interrupts.are_about(run);
    if interrupts.has_come().await {
        context.say(&format!("Stopping {run}; Ctrl-C again leaves."));
        watch::stop(desk, run, interrupts).await?;
        return Ok(exit::INTERRUPTED);
    }
    tell_started(context, started)?;
    Ok(exit::DONE)
}

/// Whoever is to answer gates here must have a key here: better found out before the run than at the gate.
pub(crate) fn check_approver(desk: &Desk<'_>, approver: Option<&Name>) -> Result<(), Failure> {
    approver.map_or(Ok(()), |name| desk.by(name).map(drop))
}

/// Tells of a run that nobody here waits for: its id alone on standard output.
pub(crate) fn tell_started(context: &Context, started: &Started) -> Result<(), Failure> {
    if context.is_json() {
        return print_json(started);
    }
    outln!("{}", started.pipeline_id);
    context.say(&format!(
        "Started {} at {} at most. Watch it with:\n  eparch runs resume {}",
        started.name, started.tier, started.pipeline_id
    ));
    Ok(())
}
