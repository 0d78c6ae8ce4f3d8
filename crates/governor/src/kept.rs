//! What a run that repeats another takes over from it, and what it does anew.

use eparch_domain::{RunId, StageStatus};
use eparch_pipeline::{StageIx, Work};

use crate::event::Lineage;
use crate::fact::Fact;
use crate::governor::Turn;
use crate::graph::Graph;
use crate::run::mark_nested;

/// Marks what an earlier run has done and this one need not do again.
pub(crate) fn keep(turn: &mut Turn<'_>, run: RunId, graph: &Graph, lineage: &Lineage) {
    let Some(from) = graph.pipeline.find(lineage.from.as_str()) else { return };
    let kept = kept(graph, lineage, from);
    let stages: Vec<StageIx> = graph.pipeline.places().filter(|ix| kept[ix.at()]).collect();
    for stage in &stages {
        let (stage, name) = (*stage, &graph.pipeline.stage(*stage).name);
        if let Some(left) = lineage.kept.get(name) {
            turn.record(Fact::StageKept { run, stage, kept: left.clone() });
        } else if let Some(status) = lineage.forgiven.get(name) {
            let reason = "it ended so in the run it repeats, which went on".to_owned();
            turn.record(Fact::StageChanged { run, stage, status: *status, reason });
        }
    }
    // What never began inside a stage that did well, such as a branch that was not taken, is not begun now either.
    for stage in stages {
        mark_nested(turn, run, stage, StageStatus::Skipped, "what is around it was kept");
    }
}

/// For each stage whether it is kept: it did well or was forgiven, it and what is in it are nothing that starts over, and
/// what is around it and everything it requires is kept by the same rule. What is not kept is followed to whatever
/// depends on it, each requirement once.
fn kept(graph: &Graph, lineage: &Lineage, from: StageIx) -> Vec<bool> {
    let starts_over = starts_over(graph, from);
    let mut kept: Vec<bool> =
        graph.pipeline.places().map(|ix| !starts_over[ix.at()] && went_on(graph, lineage, ix)).collect();
    let mut follow: Vec<StageIx> = graph.pipeline.places().filter(|ix| !kept[ix.at()]).collect();
    while let Some(ix) = follow.pop() {
        let inside = (0..graph.lists(ix)).flat_map(|list| graph.list(ix, list));
        for next in graph.dependents[ix.at()].iter().chain(inside) {
            if std::mem::replace(&mut kept[next.at()], false) {
                follow.push(*next);
            }
        }
    }
    kept
}

/// Whether the earlier run went on after the stage: it completed, or its failure was forgiven.
fn went_on(graph: &Graph, lineage: &Lineage, ix: StageIx) -> bool {
    let stage = graph.pipeline.stage(ix);
    let forgives = matches!(&stage.work, Work::Agent(work) if work.continue_on_error);
    let failure = lineage.forgiven.get(&stage.name);
    lineage.kept.contains_key(&stage.name)
        || forgives && matches!(failure, Some(StageStatus::Failed | StageStatus::TimedOut))
}

/// For each stage whether it starts over with the list it holds: the stage to repeat from, each gate, for an approval is
/// of one run and used once (G5), and what stands around them.
fn starts_over(graph: &Graph, from: StageIx) -> Vec<bool> {
    let mut found = vec![false; graph.pipeline.stages.len()];
    for ix in graph.pipeline.places() {
        if ix != from && !matches!(graph.pipeline.stage(ix).work, Work::Gate(_)) {
            continue;
        }
        let mut next = Some(ix);
        while let Some(at) = next.filter(|at| !found[at.at()]) {
            found[at.at()] = true;
            next = graph.pipeline.stage(at).parent.map(|parent| parent.stage);
        }
    }
    found
}
