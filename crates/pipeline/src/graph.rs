//! Pictures of a pipeline: Mermaid for a page, DOT for a drawing program, SVG for neither.

mod svg;

use std::fmt::Write;

use eparch_domain::harmless;

use crate::model::{GateType, Pipeline, Stage, StageIx, Work};

impl Pipeline {
    /// The pipeline as a Mermaid flowchart; nested stages stand in boxes.
    pub fn mermaid(&self) -> String {
        let mut out = String::from("flowchart TD\n");
        for ix in self.top() {
            self.mermaid_stage(&mut out, ix, 1);
        }
        for ix in self.places() {
            for required in &self.stage(ix).requires {
                line(&mut out, 1, &format!("s{} --> s{}", required.0, ix.0));
            }
        }
        out
    }

    fn mermaid_stage(&self, out: &mut String, ix: StageIx, depth: usize) {
        let stage = self.stage(ix);
        let label = escaped_mermaid(&label(stage));
        let lists = self.lists(stage);
        if lists.is_empty() {
            let shape = match &stage.work {
                Work::Gate(_) => format!("s{}{{{{\"{label}\"}}}}", ix.0),
                _ => format!("s{}[\"{label}\"]", ix.0),
            };
            return line(out, depth, &shape);
        }
        line(out, depth, &format!("subgraph s{}[\"{label}\"]", ix.0));
        for (at, (name, stages)) in lists.iter().enumerate() {
            line(out, depth + 1, &format!("subgraph s{}l{at}[\"{}\"]", ix.0, escaped_mermaid(name)));
            for inner in *stages {
                self.mermaid_stage(out, *inner, depth + 2);
            }
            line(out, depth + 1, "end");
        }
        line(out, depth, "end");
    }

    /// The pipeline in the DOT language; nested stages stand in clusters.
    pub fn dot(&self) -> String {
        let mut out = format!("digraph \"{}\" {{\n", escaped_dot(self.name.as_str()));
        line(&mut out, 1, "compound=true; node [shape=box, style=rounded];");
        for ix in self.top() {
            self.dot_stage(&mut out, ix, 1);
        }
        for ix in self.places() {
            for required in &self.stage(ix).requires {
                let (from, to) = (self.anchor(*required), self.anchor(ix));
                let mut attributes = Vec::new();
                if !self.lists(self.stage(*required)).is_empty() {
                    attributes.push(format!("ltail=cluster_s{}", required.0));
                }
                if !self.lists(self.stage(ix)).is_empty() {
                    attributes.push(format!("lhead=cluster_s{}", ix.0));
                }
                let attributes = if attributes.is_empty() {
                    String::new()
                } else {
                    format!(" [{}]", attributes.join(", "))
                };
                line(&mut out, 1, &format!("s{} -> s{}{attributes};", from.0, to.0));
            }
        }
        out.push_str("}\n");
        out
    }

    fn dot_stage(&self, out: &mut String, ix: StageIx, depth: usize) {
        let stage = self.stage(ix);
        let label = escaped_dot(&label(stage));
        let lists = self.lists(stage);
        if lists.is_empty() {
            let shape = if matches!(stage.work, Work::Gate(_)) { ", shape=hexagon" } else { "" };
            return line(out, depth, &format!("s{} [label=\"{label}\"{shape}];", ix.0));
        }
        line(out, depth, &format!("subgraph cluster_s{} {{ label=\"{label}\";", ix.0));
        for (at, (name, stages)) in lists.iter().enumerate() {
            line(
                out,
                depth + 1,
                &format!("subgraph cluster_s{}l{at} {{ label=\"{}\";", ix.0, escaped_dot(name)),
            );
            for inner in *stages {
                self.dot_stage(out, *inner, depth + 2);
            }
            line(out, depth + 1, "}");
        }
        line(out, depth, "}");
    }

    /// The lists inside a stage that hold something, by name.
    fn lists<'p>(&self, stage: &'p Stage) -> Vec<(&'p str, &'p [StageIx])> {
        let mut lists: Vec<(&str, &[StageIx])> = match &stage.work {
            Work::Parallel(work) => {
                work.branches.iter().map(|branch| (branch.name.as_str(), branch.stages.as_slice())).collect()
            }
            Work::Condition(work) => vec![("then", &work.then), ("else", &work.otherwise)],
            Work::Agent(_) | Work::Gate(_) => Vec::new(),
        };
        lists.retain(|(_, stages)| !stages.is_empty());
        lists
    }

    /// A node inside a cluster that an edge can hang on: DOT has no edges between clusters.
    fn anchor(&self, ix: StageIx) -> StageIx {
        match self.lists(self.stage(ix)).first().and_then(|(_, stages)| stages.first()) {
            Some(inner) => self.anchor(*inner),
            None => ix,
        }
    }
}

fn label(stage: &Stage) -> String {
    let more = match &stage.work {
        Work::Agent(agent) => agent.tier.to_string(),
        Work::Gate(gate) if gate.gate_type == GateType::Consensus => "consensus".to_owned(),
        Work::Gate(gate) => {
            let names: Vec<&str> = gate.approvers.iter().map(eparch_domain::Name::as_str).collect();
            format!("{} of {}", gate.quorum, names.join(", "))
        }
        Work::Parallel(_) => "parallel".to_owned(),
        Work::Condition(condition) => {
            let source = condition.condition.source();
            let short: String = source.chars().take(60).collect();
            if short.len() < source.len() { format!("if {short}…") } else { format!("if {short}") }
        }
    };
    format!("{} · {more}", stage.name)
}

fn line(out: &mut String, depth: usize, text: &str) {
    writeln!(out, "{}{text}", "  ".repeat(depth)).expect("writing to text cannot fail");
}

/// Mermaid reads HTML entities in a quoted label, and everything else as it is.
fn escaped_mermaid(text: &str) -> String {
    let mut safe = String::new();
    for letter in harmless(text).chars() {
        match letter {
            '"' | '<' | '>' | '&' | '#' | '`' | '\\' | ';' | '%' => {
                write!(safe, "#{};", u32::from(letter)).expect("writing to text cannot fail");
            }
            letter => safe.push(letter),
        }
    }
    safe
}

fn escaped_dot(text: &str) -> String {
    harmless(text).replace('\\', "\\\\").replace('"', "\\\"")
}
