//! Plans and pictures.

use std::collections::BTreeMap;

use eparch_domain::{Span, Tier};
use eparch_pipeline::{Pipeline, Plan};
use serde_json::json;

use crate::common::checked;

fn pipeline() -> Pipeline {
    checked(include_str!("../fixtures/everything.yaml")).pipeline.unwrap()
}

fn plan(grant: Tier) -> Plan {
    let pipeline = pipeline();
    let inputs = pipeline.bind(&BTreeMap::from([("ticket".to_owned(), "T-1".to_owned())])).unwrap();
    Plan::of(&pipeline, &inputs, grant)
}

#[test]
fn r043_a_tier_above_the_grant_is_refused() {
    assert!(!plan(Tier::T3).is_refused());
    let refused = plan(Tier::T1);
    assert!(refused.is_refused());
    let told: Vec<&str> =
        refused.findings.iter().filter(|one| one.refused).map(|one| one.stage.as_str()).collect();
    assert_eq!(told, ["report", "experts", "careful"]);
    assert_eq!(refused.findings.iter().find(|one| one.refused).unwrap().code, Some("EP0194"));
}

#[test]
fn r061_a_plans_name_is_of_its_definition_and_inputs() {
    let pipeline = pipeline();
    let bound =
        |ticket: &str| pipeline.bind(&BTreeMap::from([("ticket".to_owned(), ticket.to_owned())])).unwrap();
    let first = Plan::of(&pipeline, &bound("a"), Tier::T4).plan_id;
    assert_eq!(Plan::of(&pipeline, &bound("a"), Tier::T0).plan_id, first);
    assert_ne!(Plan::of(&pipeline, &bound("b"), Tier::T4).plan_id, first);
}

#[test]
fn r045_stages_stand_in_waves() {
    let plan = plan(Tier::T4);
    let waves: Vec<Vec<&str>> =
        plan.waves.iter().map(|wave| wave.iter().map(|step| step.name.as_str()).collect()).collect();
    assert_eq!(waves, [vec!["plan"], vec!["review", "checks", "experts"], vec!["agreed"], vec!["route"]]);
    let json = serde_json::to_value(&plan).unwrap();
    let first = &json["waves"][0][0];
    assert_eq!(first["type"], "agent");
    assert_eq!(first["command"], json!(["python3", "plan.py", "--env", "staging", "--count", "3"]));
    assert_eq!((&first["tier"], &first["attempts"]), (&json!(1), &json!(3)));
    assert_eq!(json["waves"][1][1]["branches"][1]["waves"][1][0]["name"], "report");
}

#[test]
fn r044_the_longest_run_is_known_and_never_past_the_timeout() {
    assert_eq!(plan(Tier::T4).worst_case, Span::from_hours(4));
    let short = checked(
        "name: a
stages:
- name: b
  type: agent
  config: {command: [c], timeout: 9m, attempt_timeout: 1m, start_timeout: 10s, retries: {max: 2, backoff: 5s}}
- {name: g, type: gate, requires: [b], config: {approvers: [x], timeout: 1h}}
- {name: d, type: agent, config: {command: [c], timeout: 5m}}
",
    );
    let plan = Plan::of(&short.pipeline.unwrap(), &BTreeMap::new(), Tier::T4);
    // Three attempts of 70 s, waits of 5 s and 10 s, then an hour.
    assert_eq!(plan.worst_case, Span::from_secs(3 * 70 + 15 + 3600));
}

#[test]
fn r058_a_plan_reads_well() {
    let plan = plan(Tier::T2);
    // Its name changes with everything in it; that it does is another test's.
    insta::assert_snapshot!("plan", plan.to_string().replace(&plan.plan_id.to_string(), "sha256:…"));
}

#[test]
fn pictures_are_escaped_and_nested() {
    insta::assert_snapshot!("mermaid", pipeline().mermaid());
    insta::assert_snapshot!("dot", pipeline().dot());
}
