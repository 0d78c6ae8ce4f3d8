//! Files that are accepted, and what they become.

use std::collections::{BTreeMap, BTreeSet};

use eparch_domain::{Span, StageKind, Tier, limits};
use eparch_pipeline::{Catalogue, Known, Pipeline, Runtime, Work, check};

use crate::common::{catalogue, checked};

const SEED: &str = include_str!("../fixtures/seed-example.yaml");
const EVERYTHING: &str = include_str!("../fixtures/everything.yaml");

fn accepted(text: &str) -> Pipeline {
    let checked = checked(text);
    assert_eq!(checked.to_text(), "");
    checked.pipeline.unwrap()
}

fn agent<'p>(pipeline: &'p Pipeline, name: &str) -> &'p eparch_pipeline::AgentWork {
    match &pipeline.stage(pipeline.find(name).unwrap()).work {
        Work::Agent(agent) => agent,
        other => panic!("{other:?}"),
    }
}

#[test]
fn r062_the_seeds_example_is_accepted_as_printed() {
    let pipeline = accepted(SEED);
    assert_eq!(pipeline.name.as_str(), "example-pipeline");
    assert_eq!(pipeline.timeout, Span::from_mins(30));
    assert_eq!(agent(&pipeline, "plan").tier, Tier::T1);
    assert_eq!(agent(&pipeline, "plan").timeout, Span::from_mins(10));
    assert_eq!(agent(&pipeline, "execute").template, "terraform@1.0");
    assert_eq!(
        pipeline.stage(pipeline.find("execute").unwrap()).requires,
        [pipeline.find("review").unwrap()]
    );
}

#[test]
fn r062_an_unknown_approver_is_a_warning() {
    let known = Known { approvers: Some(BTreeSet::from(["team-leed".to_owned()])), ..Known::default() };
    let checked = check("a.yaml", SEED, &catalogue(), &known);
    assert!(checked.pipeline.is_some());
    assert_eq!(checked.diagnostics.len(), 1);
    assert_eq!((checked.diagnostics[0].code, checked.diagnostics[0].is_warning()), ("EP0162", true));
    assert_eq!(checked.diagnostics[0].hint.as_deref(), Some("did you mean `team-leed`?"));
}

#[test]
fn r041_r042_every_field_is_read() {
    let pipeline = accepted(EVERYTHING);
    let plan = agent(&pipeline, "plan");
    assert_eq!(plan.tier, Tier::T1);
    assert_eq!(plan.retries.max, 2);
    assert_eq!(plan.attempt_timeout, Some(Span::from_mins(4)));
    assert_eq!(plan.command[5].source(), "3");
    assert_eq!(plan.egress, ["api.example.org:443", "[::1]:80"]);
    assert_eq!(pipeline.budget.dollars, Some(2.5));
    assert_eq!(agent(&pipeline, "experts").runtime, Runtime::Council);
    assert_eq!(pipeline.env_names(), BTreeSet::new());
    let kinds: Vec<StageKind> = pipeline.stages.iter().map(|stage| stage.work.kind()).collect();
    assert_eq!(kinds.len(), 11);
    for ix in pipeline.places() {
        if let Some(parent) = pipeline.stage(ix).parent {
            assert!(parent.stage < ix);
        }
    }
}

#[test]
fn r041_a_definition_survives_its_bytes() {
    for text in [SEED, EVERYTHING] {
        let pipeline = accepted(text);
        let again = Pipeline::from_bytes(&pipeline.to_bytes()).unwrap();
        assert_eq!(again, pipeline);
        assert_eq!(again.digest(), pipeline.digest());
    }
}

#[test]
fn r042_what_is_left_out_has_a_default() {
    let pipeline = accepted("name: a\nstages:\n- {name: b, type: agent, config: {command: [c]}}\n");
    let work = agent(&pipeline, "b");
    assert_eq!((pipeline.timeout, work.timeout), (limits::PIPELINE_TIMEOUT, limits::STAGE_TIMEOUT));
    assert_eq!((work.tier, work.runtime, work.retries.max), (Tier::T0, Runtime::Process, 0));
    assert_eq!(pipeline.version, "1.0");
}

#[test]
fn x21_a_template_is_a_default_and_its_tier_a_minimum() {
    let at = |config: &str| {
        checked(&format!(
            "name: a\ninputs: {{question: {{}}}}\nstages:\n- {{name: b, type: agent, template: terraform, config: {config}}}\n"
        ))
    };
    let plain = at("{}").pipeline.unwrap();
    let work = agent(&plain, "b");
    assert_eq!((work.tier, work.retries.max), (Tier::T1, 3));
    assert_eq!(work.tools, ["terraform_*"]);
    assert_eq!(work.files, BTreeMap::from([("main.tf".to_owned(), "# empty".to_owned())]));
    assert_eq!(work.env["TF_IN_AUTOMATION"].source(), "1");
    let own = at(
        "{tier: 3, command: [terraform, apply], env: {A: b}, tools: [terraform_apply], retries: {backoff: 1m}}",
    );
    let own = own.pipeline.unwrap();
    let work = agent(&own, "b");
    assert_eq!((work.tier, work.retries.max, work.retries.backoff), (Tier::T3, 3, Span::from_mins(1)));
    assert_eq!(work.command[1].source(), "apply");
    assert_eq!(work.env.len(), 2);
    assert_eq!(at("{tier: 0}").diagnostics[0].code, "EP0141");
}

#[test]
fn r041_an_expression_of_a_template_is_checked_where_it_is_used() {
    let with = |inputs: &str| {
        let text = format!("name: a\n{inputs}stages:\n- {{name: b, type: agent, template: asks}}\n");
        checked(&text)
            .diagnostics
            .iter()
            .map(|one| (one.code, one.span.line, one.span.column))
            .collect::<Vec<_>>()
    };
    assert_eq!(with("inputs: {question: {default: why}}\n"), []);
    assert_eq!(with(""), [("EP0131", 3, 36)]);
}

#[test]
fn r041_a_byte_order_mark_and_windows_line_ends_are_accepted() {
    let text = format!("\u{feff}{}", SEED.replace('\n', "\r\n"));
    accepted(&text);
    assert_eq!(crate::common::found(&text.replace("type: gate", "type: gait")), [("EP0113", 12, 11)]);
}

/// Every file of a folder of the repository with this extension.
fn files(folder: &str, extension: &str) -> Vec<(String, String)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<(String, String)> = paths
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read_to_string(&path).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}

#[test]
fn r052_r055_the_four_templates_are_there_at_their_tiers() {
    let catalogue = Catalogue::built_in();
    let at = |name: &str| catalogue.find(name).unwrap_or_else(|| panic!("no template {name}"));
    for (name, tier) in
        [("default", Tier::T0), ("terraform", Tier::T1), ("ansible", Tier::T1), ("code-review", Tier::T0)]
    {
        assert_eq!(at(name).tier(), tier, "{name}");
    }
    assert!(at("terraform").tools().iter().any(|tool| tool.starts_with("terraform_")));
    assert!(at("ansible").tools().iter().any(|tool| tool.starts_with("ansible_")));
    assert!(
        !at("code-review").tools().iter().any(|tool| tool.contains("write")),
        "{:?}",
        at("code-review").tools()
    );
    assert!(at("code-review").files().keys().any(|path| path.starts_with(".agent/")));
}

#[test]
fn r056_r057_r062_examples_are_accepted_with_the_built_in_templates() {
    let catalogue = Catalogue::built_in();
    let mut all = files("examples", "yaml");
    all.push(("the seed's example".into(), SEED.into()));
    assert!(all.len() > 3);
    for (name, text) in all {
        let checked = check(&name, &text, &catalogue, &Known::default());
        assert_eq!(checked.to_text(), "", "{name}");
        assert!(checked.pipeline.is_some());
    }
}
